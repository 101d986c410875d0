"""The worker: one session for all it waits for, and nothing held by what is refused."""

from datetime import timedelta
from itertools import pairwise

import pytest
from temporal_servers import QUEUE, Handle, at_work, start, temporal, until

from schedules_async import RetryPolicy
from schedules_async.temporal import WaitRequest, schedules_worker
from schedules_async.testing import FakeSchedules, throttled

pytestmark = pytest.mark.temporal


async def test_two_workflows_that_wait_for_the_same_operation_share_its_looks() -> None:
    async with temporal() as engine, FakeSchedules() as service:
        ref = service.start_operation(duration=2)
        async with at_work(engine.client, service):
            handles = [await start(engine.client, WaitRequest.of([ref]), name) for name in ("one", "other")]
            outcomes = [await handle.result() for handle in handles]
    times = [request.time for request in service.requests_for(ref)]
    assert outcomes[0] == outcomes[1]
    assert all(later - sooner > 0.09 for sooner, later in pairwise(times))


async def test_a_look_that_is_refused_gives_its_slot_back_at_once() -> None:
    """Whatever the caller's retry policy would let itself be refused for."""
    async with temporal() as engine, FakeSchedules() as service:
        refs = [service.start_operation(duration=0.1) for _ in range(3)]
        service.interrupt(throttled(retry_after=1))
        options = {"max_concurrent_activities": 1, "retry": RetryPolicy(max_retry_after=timedelta(hours=1))}
        async with at_work(engine.client, service, **options):
            handle = await start(engine.client, WaitRequest.of(refs, single_polls=True))
            await until(lambda: bool(service.requests))
            failures = await until_refused(handle)
            assert failures == {"RateLimitedError"}
            assert all(outcome.is_succeeded for outcome in await handle.result())


async def until_refused(handle: Handle) -> set[str]:
    """Wait until every look was refused or is to come again; give the failures that the engine was told of."""
    kinds = set[str]()
    while not kinds:
        waits = (await handle.describe()).raw_description.pending_activities
        kinds = {wait.last_failure.application_failure_info.type for wait in waits if wait.HasField("last_failure")}
    return kinds


async def test_wrong_options_are_told_before_anything_runs() -> None:
    async with temporal() as engine:
        with pytest.raises(ValueError, match="https"):
            async with schedules_worker(engine.client, "token", task_queue=QUEUE, base_url="http://example.com"):
                pass
