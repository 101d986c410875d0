"""Several workers: no operation is lost or polled twice at once, they keep one quota, and no token is stored."""

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
from temporal_servers import FREQUENT, QUEUE, Handle, histories, running_worker, start, temporal, time_skipping, until
from temporalio import activity
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from schedules_async import OperationRef, PollingPolicy, RateLimit
from schedules_async.temporal import WaitRequest, schedules_worker
from schedules_async.testing import FakeClock, FakeSchedules, ReceivedRequest, operation_answer
from schedules_async.testing.answers import START_OF_TIME

pytestmark = pytest.mark.temporal
WORKER = Path(__file__).parents[2] / "examples" / "temporal_worker.py"
SHAPES = pytest.mark.parametrize("single_polls", [False, True], ids=["waits", "polls"])


def host(request: ReceivedRequest) -> str:
    """Return the host by which a worker calls the service: its address or its name."""
    return request.headers["Host"].partition(":")[0]


@asynccontextmanager
async def worker_process(**environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the worker of the example in a process, within the block unless it is killed before."""
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
async def test_killed_worker_loses_no_operation(single_polls: bool, count: int) -> None:
    """Each resumed wait starts with its saved ETag, and no operation is polled by two workers at once."""
    async with temporal() as engine, FakeSchedules() as service, AsyncExitStack() as workers:
        refs = [service.start_operation(duration=30 + number % 6) for number in range(count)]
        common = {"TEMPORAL_ADDRESS": engine.client.service_client.config.target_host, "SCHEDULES_TOKEN": service.token}
        urls = [service.url, service.url.replace("127.0.0.1", "localhost")]
        first, _ = [await workers.enter_async_context(worker_process(**common, SCHEDULES_BASE_URL=url)) for url in urls]
        handle = await start(engine.client, WaitRequest.of(refs, single_polls=single_polls, heartbeat_timeout=3))
        async with asyncio.timeout(60):
            while not await has_every_snapshot(handle):
                await handle.describe()
        first.kill()
        killed = len(service.requests)
        service.interrupt(*[operation_answer("Succeeded")] * 1000)
        outcomes = await handle.result()
    assert all(outcome.is_succeeded for outcome in outcomes)
    assert {host(request) for request in service.requests[:killed]} == {"127.0.0.1", "localhost"}
    assert {host(request) for request in service.requests[-count // 4 :]} == {"localhost"}
    assert [request.if_none_match for request in service.requests].count(None) == len(refs)
    assert min_interval(service, refs) > 0.2
    if not single_polls:
        resumed = [request for ref in refs if (request := takeover(service.requests_for(ref))) is not None]
        assert len(resumed) > 20
        assert all(request.if_none_match for request in resumed)


async def has_every_snapshot(handle: Handle) -> bool:
    """Return True if Temporal has a snapshot of each operation."""
    waits = (await handle.describe()).raw_description.pending_activities
    return bool(waits) and all(wait.heartbeat_details.payloads for wait in waits)


def min_interval(service: FakeSchedules, refs: list[OperationRef]) -> float:
    """Return the shortest time between two polls of one operation; with two workers at once it would be small."""
    times = [[request.time for request in service.requests_for(ref)] for ref in refs]
    return min(later - sooner for polls in times for sooner, later in pairwise(polls))


def takeover(requests: list[ReceivedRequest]) -> ReceivedRequest | None:
    """Return the first request of the worker that took an operation over, which happens at most once."""
    turns = [list(turn) for _, turn in groupby(requests, host)]
    assert len(turns) <= 2
    return turns[1][0] if len(turns) == 2 else None


async def two_workers(engine: WorkflowEnvironment, service: FakeSchedules, **options: Any) -> AsyncExitStack:
    """Run two workers with a connection and a session each until the stack is closed."""
    stack = AsyncExitStack()
    for _ in range(2):
        client = await Client.connect(engine.client.service_client.config.target_host)
        await stack.enter_async_context(running_worker(client, service, **options))
    return stack


async def test_two_workers_share_rate_of_task_queue() -> None:
    """60 operations in single polls at 20 requests a second; Temporal starts no more polls than that."""
    async with temporal() as engine, FakeSchedules(quota=20, window=1.0) as service:
        refs = [service.start_operation(duration=3 + number % 4) for number in range(60)]
        async with await two_workers(engine, service, polls_per_second=18):
            handle = await start(engine.client, WaitRequest.of(refs, single_polls=True))
            outcomes = await handle.result()
    assert all(outcome.is_succeeded for outcome in outcomes)
    assert throttled_share(service) <= 0.05


async def test_two_workers_with_half_limits_keep_quota() -> None:
    """60 waits at 20 requests a second, half of which is the limit of each session."""
    async with temporal() as engine, FakeSchedules(quota=20, window=1.0) as service:
        refs = [service.start_operation(duration=3 + number % 4) for number in range(60)]
        async with await two_workers(engine, service, rate_limits=[RateLimit(10, 1)]):
            handle = await start(engine.client, WaitRequest.of(refs))
            outcomes = await handle.result()
    assert all(outcome.is_succeeded for outcome in outcomes)
    assert throttled_share(service) <= 0.05


def throttled_share(service: FakeSchedules) -> float:
    """Return the share of throttled requests, out of more than 100."""
    assert len(service.requests) > 100
    return sum(request.status == 429 for request in service.requests) / len(service.requests)


async def test_2000_single_polls_occupy_at_most_20_slots() -> None:
    """Two workflows of 1,000 operations each; new runs keep their histories short."""
    settings = {"limit__historyCount__suggestContinueAsNew": 2500}
    async with temporal(**settings) as engine, FakeSchedules() as service:
        refs = [service.start_operation(duration=6 + number % 6) for number in range(2000)]
        policy = PollingPolicy(min_interval=2)
        async with running_worker(engine.client, service, polling=policy, max_concurrent_activities=20):
            halves = [
                await start(engine.client, WaitRequest.of(half, single_polls=True), name)
                for name, half in (("first", refs[:1000]), ("second", refs[1000:]))
            ]
            await until(lambda: len({request.ref for request in service.requests}) == len(refs))
            in_use = [await slots_in_use(half) for half in halves]
            outcomes = [outcome for half in halves for outcome in await half.result()]
        runs = [run for half in halves for run in await histories(engine.client, half)]
    assert [outcome.value().ref for outcome in outcomes] == refs
    assert all(outcome.is_succeeded for outcome in outcomes)
    assert sum(in_use) <= 20
    assert len(runs) > 2
    assert max(len(run) for run in runs) < 5000


async def slots_in_use(handle: Handle) -> int:
    """Return the number of activities that run on a worker; the others are between two polls."""
    waits = (await handle.describe()).raw_description.pending_activities
    return sum(wait.state == PendingActivityState.PENDING_ACTIVITY_STATE_STARTED for wait in waits)


@define(eq=False)
class EngineClock:
    """The clock of the fake server in the time of Temporal's time-skipping server, set by every attempt that starts."""

    _now: float = 0.0
    _zero: float = field(init=False, factory=lambda: datetime.fromisoformat(START_OF_TIME).timestamp())

    def set(self, now: datetime) -> None:
        self._now = max(self._now, now.timestamp() - self._zero)

    def has_reached(self, time: float) -> bool:
        return self._now >= time

    def monotonic(self) -> float:
        return self._now

    async def sleep(self, _: float) -> None:
        await asyncio.sleep(3600)  # nothing awaits it


class SettingClock(ActivityInboundInterceptor):
    def __init__(self, following: ActivityInboundInterceptor, clock: EngineClock) -> None:
        super().__init__(following)
        self.clock = clock

    async def execute_activity(self, what: ExecuteActivityInput) -> Any:
        self.clock.set(activity.info().started_time)
        return await super().execute_activity(what)


@define(eq=False)
class SetClock(Interceptor):
    clock: EngineClock

    def intercept_activity(self, following: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return SettingClock(following, self.clock)


async def test_six_hours_on_six_workers_cost_equal_polls() -> None:
    """A new worker every hour polls as often as one process would, and time-skipping takes seconds."""
    clock = EngineClock()
    async with time_skipping() as engine, FakeSchedules(clock=clock) as service:
        clock.set(await engine.get_current_time())
        begin, ref = clock.monotonic(), service.start_operation(duration=6 * 3600)
        request = WaitRequest.of([ref], single_polls=True, heartbeat_timeout=1, progress_interval=timedelta(days=1))
        handle = await start(engine.client, request, execution_timeout=timedelta(days=1))
        result = asyncio.create_task(handle.result())
        # The time-skipping server keeps assigning workflow tasks to the sticky queue of a worker that is gone.
        without_sticky_queue = {"interceptors": [SetClock(clock)], "max_cached_workflows": 0}
        options = {"polling": PollingPolicy(), "clock": clock, "worker_options": without_sticky_queue}
        for hour in range(1, 6):
            async with running_worker(engine.client, service, **options):
                await until(partial(clock.has_reached, begin + hour * 3600))
        async with running_worker(engine.client, service, **options):
            (outcome,) = await result
    assert outcome.is_succeeded
    assert [request.if_none_match for request in service.requests].count(None) == 1
    assert len(service.requests) == pytest.approx(await polls_of_one_process(6 * 3600), rel=0.1)


async def polls_of_one_process(seconds: float) -> int:
    clock = FakeClock()
    async with FakeSchedules(clock=clock) as service, service.session() as session:
        await session.wait_for_operation(*service.start_operation(duration=seconds))
        return len(service.requests)


@SHAPES
async def test_no_token_in_payloads_history_or_log(single_polls: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Neither a rejected token nor the exception of a token function is stored."""
    canary, raised = "canary-of-a-token", list[str]()
    caplog.set_level(logging.DEBUG)

    async def get_token() -> str:
        if len(service.requests) >= 3 and not raised:
            service.reject_token(canary)
            raised.append(canary)
            raise RuntimeError(canary)
        return canary

    async with temporal() as engine, FakeSchedules(token=canary) as service:
        refs = [service.start_operation(duration=0.1), OperationRef("no", "such"), service.start_operation(duration=60)]
        request = WaitRequest.of(refs, single_polls=single_polls, progress_interval=0.2, heartbeat_timeout=1)
        async with schedules_worker(engine.client, get_token, task_queue=QUEUE, base_url=service.url, polling=FREQUENT):
            handle = await start(engine.client, request)
            await until(lambda: bool(raised))
            described = str((await handle.describe()).raw_description)
            await handle.result()
        stored = [str(event) for run in await histories(engine.client, handle) for event in run]
    assert canary not in described
    assert not any(canary in event for event in stored)
    assert any("AuthenticationError" in event for event in stored)
    assert "WaitForOperations" in caplog.text
    assert canary not in caplog.text
