from datetime import timedelta
from itertools import pairwise

import pytest
from temporal_servers import QUEUE, Handle, running_worker, start, temporal, until

from schedules_async import RetryPolicy
from schedules_async.temporal import WaitRequest, schedules_worker
from schedules_async.testing import FakeSchedules, throttled

pytestmark = pytest.mark.temporal


async def test_two_workflows_share_polls_of_one_operation() -> None:
    async with temporal() as engine, FakeSchedules() as service:
        ref = service.start_operation(duration=2)
        async with running_worker(engine.client, service):
            handles = [await start(engine.client, WaitRequest.of([ref]), name) for name in ("one", "other")]
            outcomes = [await handle.result() for handle in handles]
    times = [request.time for request in service.requests_for(ref)]
    assert outcomes[0] == outcomes[1]
    assert all(later - sooner > 0.09 for sooner, later in pairwise(times))


async def test_throttled_poll_frees_its_slot_at_once() -> None:
    """Whatever `max_retry_after` of the caller's retry policy is."""
    async with temporal() as engine, FakeSchedules() as service:
        refs = [service.start_operation(duration=0.1) for _ in range(3)]
        service.interrupt(throttled(retry_after=1))
        options = {"max_concurrent_activities": 1, "retry": RetryPolicy(max_retry_after=timedelta(hours=1))}
        async with running_worker(engine.client, service, **options):
            handle = await start(engine.client, WaitRequest.of(refs, single_polls=True))
            await until(lambda: bool(service.requests))
            failures = await until_throttled(handle)
            assert failures == {"RateLimitedError"}
            assert all(outcome.is_succeeded for outcome in await handle.result())


async def until_throttled(handle: Handle) -> set[str]:
    """Wait until an attempt has failed, and return the types of the failures."""
    types = set[str]()
    while not types:
        waits = (await handle.describe()).raw_description.pending_activities
        types = {wait.last_failure.application_failure_info.type for wait in waits if wait.HasField("last_failure")}
    return types


async def test_invalid_options_raise_before_worker_starts() -> None:
    async with temporal() as engine:
        with pytest.raises(ValueError, match="https"):
            async with schedules_worker(engine.client, "token", task_queue=QUEUE, base_url="http://example.com"):
                pass
