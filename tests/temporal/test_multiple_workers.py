"""What must hold on more than one machine: nothing is lost, nothing is asked twice, one quota, no token."""

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from temporal_servers import LIVELY, QUEUE, Handle, at_work, histories, start, temporal, time_skipping, until
from temporalio import activity
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from schedules_async import OperationRef, PollingPolicy, RateLimit
from schedules_async.temporal import WaitRequest, schedules_worker
from schedules_async.testing import FakeClock, FakeSchedules, ReceivedRequest
from schedules_async.testing.answers import START_OF_TIME

pytestmark = pytest.mark.temporal
WORKER = Path(__file__).parents[2] / "examples" / "temporal_worker.py"
SHAPES = pytest.mark.parametrize("single_polls", [False, True], ids=["waits", "polls"])


def host(request: ReceivedRequest) -> str:
    """Tell the workers apart: one calls the service by its address, one by its name."""
    return request.headers["Host"].partition(":")[0]


@asynccontextmanager
async def worker_process(**environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the example's worker until it is killed or the block ends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(WORKER), env={**os.environ, **environment}, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    await process.stdout.readline()
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@pytest.mark.parametrize(("single_polls", "count"), [(False, 200), (True, 60)], ids=["waits", "polls"])
async def test_200_operations_outlive_a_worker_that_is_killed(single_polls: bool, count: int) -> None:
    """Each resumed wait begins with its saved tag, and no operation is looked at by two workers at once."""
    async with temporal() as engine, FakeSchedules() as service, AsyncExitStack() as workers:
        refs = [service.start_operation(duration=5 + number % 6) for number in range(count)]
        common = {"TEMPORAL_ADDRESS": engine.client.service_client.config.target_host, "SCHEDULES_TOKEN": service.token}
        urls = [service.url, service.url.replace("127.0.0.1", "localhost")]
        first, _ = [await workers.enter_async_context(worker_process(**common, SCHEDULES_BASE_URL=url)) for url in urls]
        handle = await start(engine.client, WaitRequest.of(refs, single_polls=single_polls, heartbeat_timeout=3))
        async with asyncio.timeout(60):
            while not await is_every_wait_known(handle):
                await handle.describe()
        first.kill()
        killed = len(service.requests)
        outcomes = await handle.result()
    assert all(outcome.is_succeeded for outcome in outcomes)
    assert {host(request) for request in service.requests[:killed]} == {"127.0.0.1", "localhost"}
    assert {host(request) for request in service.requests[-count // 4 :]} == {"localhost"}
    assert [request.if_none_match for request in service.requests].count(None) == len(refs)
    assert closest(service, refs) > 0.2
    if not single_polls:
        resumed = [request for ref in refs if (request := takeover(service.requests_for(ref))) is not None]
        assert len(resumed) > 20
        assert all(request.if_none_match for request in resumed)


async def is_every_wait_known(handle: Handle) -> bool:
    """Tell whether the engine holds a snapshot for each wait."""
    waits = (await handle.describe()).raw_description.pending_activities
    return bool(waits) and all(wait.heartbeat_details.payloads for wait in waits)


def closest(service: FakeSchedules, refs: list[OperationRef]) -> float:
    """Give the least time between two looks at one operation; two workers at once would make it small."""
    times = [[request.time for request in service.requests_for(ref)] for ref in refs]
    return min(later - sooner for polls in times for sooner, later in pairwise(polls))


def takeover(requests: list[ReceivedRequest]) -> ReceivedRequest | None:
    """Give the first request of the worker that took an operation over, which happens once at most."""
    turns = [list(turn) for _, turn in groupby(requests, host)]
    assert len(turns) <= 2
    return turns[1][0] if len(turns) == 2 else None


async def two_workers(engine: WorkflowEnvironment, service: FakeSchedules, **options: Any) -> AsyncExitStack:
    """Run two workers, each with a connection and a session of its own, until the stack is closed."""
    stack = AsyncExitStack()
    for _ in range(2):
        client = await Client.connect(engine.client.service_client.config.target_host)
        await stack.enter_async_context(at_work(client, service, **options))
    return stack


async def test_two_workers_share_a_quota_by_the_task_queue() -> None:
    """60 operations, 20 requests a second, single polls: the engine starts no more than the quota allows."""
    async with temporal() as engine, FakeSchedules(quota=20, window=1.0) as service:
        refs = [service.start_operation(duration=3 + number % 4) for number in range(60)]
        async with await two_workers(engine, service, polls_per_second=18):
            handle = await start(engine.client, WaitRequest.of(refs, single_polls=True))
            outcomes = await handle.result()
    assert all(outcome.is_succeeded for outcome in outcomes)
    assert refusals(service) <= 0.05


async def test_two_workers_split_a_quota_by_their_own_limits() -> None:
    """60 operations, 20 requests a second, waits: each session keeps to a half."""
    async with temporal() as engine, FakeSchedules(quota=20, window=1.0) as service:
        refs = [service.start_operation(duration=3 + number % 4) for number in range(60)]
        async with await two_workers(engine, service, rate_limits=[RateLimit(10, 1)]):
            handle = await start(engine.client, WaitRequest.of(refs))
            outcomes = await handle.result()
    assert all(outcome.is_succeeded for outcome in outcomes)
    assert refusals(service) <= 0.05


def refusals(service: FakeSchedules) -> float:
    """Give the share of the requests that were refused, of enough to tell."""
    assert len(service.requests) > 100
    return sum(request.status == 429 for request in service.requests) / len(service.requests)


async def test_2000_operations_in_single_looks_hold_no_slot_between_them() -> None:
    """Two workflows of 1,000, and 20 slots; no history is long, for new runs go on."""
    settings = {"limit__historyCount__suggestContinueAsNew": 2500}
    async with temporal(**settings) as engine, FakeSchedules() as service:
        refs = [service.start_operation(duration=6 + number % 6) for number in range(2000)]
        policy = PollingPolicy(min_interval=2)
        async with at_work(engine.client, service, polling=policy, max_concurrent_activities=20):
            halves = [
                await start(engine.client, WaitRequest.of(half, single_polls=True), name)
                for name, half in (("first", refs[:1000]), ("second", refs[1000:]))
            ]
            await until(lambda: len({request.ref for request in service.requests}) == len(refs))
            held = [await slots_held(half) for half in halves]
            outcomes = [outcome for half in halves for outcome in await half.result()]
        runs = [run for half in halves for run in await histories(engine.client, half)]
    assert [outcome.value().ref for outcome in outcomes] == refs
    assert all(outcome.is_succeeded for outcome in outcomes)
    assert sum(held) <= 20
    assert len(runs) > 2
    assert max(len(run) for run in runs) < 5000


async def slots_held(handle: Handle) -> int:
    """Count the waits that a worker is at; the others are between two polls."""
    waits = (await handle.describe()).raw_description.pending_activities
    return sum(wait.state == PendingActivityState.PENDING_ACTIVITY_STATE_STARTED for wait in waits)


@define(eq=False)
class EngineClock:
    """The clock of a service in the engine's time, which is told by every attempt that begins."""

    _now: float = 0.0
    _zero: float = field(init=False, factory=lambda: datetime.fromisoformat(START_OF_TIME).timestamp())

    def tell(self, now: datetime) -> None:
        self._now = max(self._now, now.timestamp() - self._zero)

    def has_come(self, time: float) -> bool:
        return self._now >= time

    def monotonic(self) -> float:
        return self._now

    async def sleep(self, _: float) -> None:
        await asyncio.sleep(3600)  # nothing here waits for it


class Telling(ActivityInboundInterceptor):
    def __init__(self, following: ActivityInboundInterceptor, clock: EngineClock) -> None:
        super().__init__(following)
        self.clock = clock

    async def execute_activity(self, what: ExecuteActivityInput) -> Any:
        self.clock.tell(activity.info().started_time)
        return await super().execute_activity(what)


@define(eq=False)
class TellTheTime(Interceptor):
    clock: EngineClock

    def intercept_activity(self, following: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return Telling(following, self.clock)


async def test_six_hours_with_a_new_worker_each_hour_pass_in_seconds() -> None:
    """The looks are those that one process sends for the same operation."""
    clock = EngineClock()
    async with time_skipping() as engine, FakeSchedules(clock=clock) as service:
        clock.tell(await engine.get_current_time())
        begun, ref = clock.monotonic(), service.start_operation(duration=6 * 3600)
        request = WaitRequest.of([ref], single_polls=True, heartbeat_timeout=1, progress_interval=timedelta(days=1))
        handle = await start(engine.client, request, longest=timedelta(days=1))
        result = asyncio.create_task(handle.result())
        # The server that skips time gives workflow tasks to the sticky queue of a worker that left, for ever.
        without_sticky_queue = {"interceptors": [TellTheTime(clock)], "max_cached_workflows": 0}
        options = {"polling": PollingPolicy(), "clock": clock, "worker_options": without_sticky_queue}
        for hour in range(1, 6):
            async with at_work(engine.client, service, **options):
                await until(partial(clock.has_come, begun + hour * 3600))
        async with at_work(engine.client, service, **options):
            (outcome,) = await result
    assert outcome.is_succeeded
    assert [look.if_none_match for look in service.requests].count(None) == 1
    assert len(service.requests) == pytest.approx(await looks_of_one_process(6 * 3600), rel=0.1)


async def looks_of_one_process(seconds: float) -> int:
    clock = FakeClock()
    async with FakeSchedules(clock=clock) as service, service.session() as session:
        await session.wait_for_operation(*service.start_operation(duration=seconds))
        return len(service.requests)


@SHAPES
async def test_no_token_is_in_a_payload_a_history_or_a_log(
    single_polls: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even one that is refused, nor what a token function of the caller's raises."""
    canary, raised = "canary-of-a-token", list[str]()
    caplog.set_level(logging.DEBUG)

    async def give() -> str:
        if len(service.requests) >= 3 and not raised:
            service.reject_token(canary)
            raised.append(canary)
            raise RuntimeError(canary)
        return canary

    async with temporal() as engine, FakeSchedules(token=canary) as service:
        refs = [service.start_operation(duration=0.1), OperationRef("no", "such"), service.start_operation(duration=60)]
        request = WaitRequest.of(refs, single_polls=single_polls, progress_interval=0.2, heartbeat_timeout=1)
        async with schedules_worker(engine.client, give, task_queue=QUEUE, base_url=service.url, polling=LIVELY):
            handle = await start(engine.client, request)
            await until(lambda: bool(raised))
            described = str((await handle.describe()).raw_description)
            await handle.result()
        kept = [str(event) for run in await histories(engine.client, handle) for event in run]
    assert canary not in described
    assert not any(canary in event for event in kept)
    assert any("AuthenticationError" in event for event in kept)
    assert "WaitForOperations" in caplog.text
    assert canary not in caplog.text
