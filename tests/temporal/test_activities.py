"""The activities, each attempt in an environment of its own, as if on another worker every time."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from attrs import define, field
from sessions import UNLIMITED
from temporalio.api.failure.v1 import Failure
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from schedules_async import AuthenticationError, Operation, OperationRef, PollingPolicy, RetryPolicy
from schedules_async.temporal import OperationActivities, OperationWait
from schedules_async.temporal.memory import Memory, to_date
from schedules_async.testing import FakeClock, FakeSchedules, fault, operation_answer, throttled
from schedules_async.testing.answers import START_OF_TIME

ZERO = datetime.fromisoformat(START_OF_TIME).timestamp()
POLICY = PollingPolicy()
EVEN = PollingPolicy(jitter=0)  # so that chance has no part in the count of polls


@define(eq=False)
class Engine:
    """Runs attempts as Temporal does, on the fake clock, and keeps what they leave."""

    server: FakeSchedules
    clock: FakeClock
    polling: PollingPolicy = POLICY
    token: object = field(init=False)
    details: list[str] = field(factory=list)
    beats: list[float] = field(factory=list)
    environment: ActivityEnvironment = field(factory=ActivityEnvironment)

    def __attrs_post_init__(self) -> None:
        self.token = self.server.token

    async def attempt(self, name: str, ref: OperationRef, memory: str = "", beat_within: float | None = None) -> str:
        """Let a worker that knows nothing make one attempt."""
        snapshots: dict[OperationRef, Operation] = {}
        now = to_date(ZERO + self.clock.monotonic())
        self.environment = ActivityEnvironment()
        self.environment.on_heartbeat = self.keep
        self.environment.info = replace(
            self.environment.info,
            started_time=now,
            scheduled_time=to_date(ZERO),
            heartbeat_details=self.details[-1:],
            heartbeat_timeout=None if beat_within is None else timedelta(seconds=beat_within),
        )
        async with self.server.session(
            snapshots=snapshots, rate_limits=UNLIMITED, retry=RetryPolicy(max_retry_after=0), auth=self.token
        ) as session:
            activities = OperationActivities(session, snapshots, self.polling, self.clock, lambda: 0.5)
            try:
                result = await self.environment.run(
                    getattr(activities, name), OperationWait(ref.schedule_id, ref.operation_id, memory)
                )
            finally:
                assert snapshots == {}
        assert isinstance(result, str)
        return result

    def keep(self, *details: str) -> None:
        """Take a heartbeat."""
        self.details.extend(details)
        self.beats.append(self.clock.monotonic())

    async def failure(self, name: str, ref: OperationRef, memory: str = "") -> ApplicationError:
        """Give what an attempt tells the engine that does not end well."""
        with pytest.raises(ApplicationError) as raised:
            await self.attempt(name, ref, memory)
        return raised.value

    async def look_to_the_end(self, ref: OperationRef) -> Operation:
        """Make attempts of one look, each when the one before asked for it."""
        while True:
            try:
                return Operation.from_json(await self.attempt("poll", ref))
            except ApplicationError as failure:
                await self.clock.sleep((failure.next_retry_delay or timedelta()).total_seconds())


@pytest.fixture
def engine(server: FakeSchedules, clock: FakeClock) -> Engine:
    return Engine(server, clock)


def tags(server: FakeSchedules, ref: OperationRef) -> list[str | None]:
    return [request.if_none_match for request in server.requests_for(ref)]


async def test_a_wait_gives_the_end_and_beats_with_every_change(engine: Engine, server: FakeSchedules) -> None:
    ref = server.start_operation(duration=60)
    final = Operation.from_json(await engine.attempt("wait", ref))
    kept = [Memory.from_json(text).operation for text in engine.details]
    assert final.is_succeeded
    assert kept[-1] == final
    assert len(kept) == len(server.requests_for(ref)) > 5
    assert all(operation is not None and operation.etag for operation in kept)


async def test_a_wait_beats_within_the_interval_while_nothing_changes(engine: Engine, server: FakeSchedules) -> None:
    """With the snapshot each time: a heartbeat without would take it from the engine."""
    ref = server.start_operation(duration=300, progress="none")
    await engine.attempt("wait", ref, beat_within=9)
    assert max(later - sooner for sooner, later in pairwise(engine.beats)) <= 3
    assert all(Memory.from_json(text).operation for text in engine.details)


async def test_before_the_first_snapshot_a_beat_carries_nothing(engine: Engine, server: FakeSchedules) -> None:
    server.refuse(retry_after=30)
    ref = server.start_operation(duration=1)
    await engine.attempt("wait", ref, beat_within=9)
    assert engine.details[0] == ""


async def test_a_wait_on_another_worker_begins_with_the_saved_tag(engine: Engine, server: FakeSchedules) -> None:
    ref = server.start_operation(duration=60, progress="none")
    first = asyncio.create_task(engine.attempt("wait", ref))
    await engine.clock.sleep(20)
    first.cancel()
    await asyncio.wait({first})
    before = len(server.requests_for(ref))
    saved = Memory.from_json(engine.details[-1]).operation
    await engine.attempt("wait", ref)
    resumed = server.requests_for(ref)[before]
    assert saved is not None
    assert (resumed.if_none_match, resumed.status) == (saved.etag, 304)


@pytest.mark.parametrize("name", ["wait", "poll"])
async def test_what_an_earlier_activity_left_counts_too(engine: Engine, server: FakeSchedules, name: str) -> None:
    ref = server.script_operation(operation_answer("Started", etag='"a"'), operation_answer("Succeeded"))
    memory = Memory(Operation.from_json('{"operation": {"id": "x", "status": "Started", "etag": "\\"a\\""}}', "s"))
    await engine.failure("poll", ref, memory.to_json())
    await engine.attempt(name, ref)
    assert tags(server, ref)[0] == '"a"'


async def test_cancelling_ends_at_once_and_touches_nothing(engine: Engine, server: FakeSchedules) -> None:
    ref = server.start_operation(duration=600)
    task = asyncio.create_task(engine.attempt("wait", ref, beat_within=9))
    await engine.clock.sleep(100)
    asked, now = len(server.requests), engine.clock.monotonic()
    engine.environment.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert engine.clock.monotonic() == now
    assert engine.clock.sleeping == 0
    assert len(server.requests) == asked
    assert {request.method for request in server.requests} == {"GET"}


async def test_two_hours_with_a_new_worker_every_20_minutes_cost_the_looks_of_one(
    engine: Engine, server: FakeSchedules
) -> None:
    alone, moved = server.start_operation(duration=7200), server.start_operation(duration=7200)
    engine.polling = EVEN
    async with server.session(rate_limits=UNLIMITED, polling=EVEN) as session:
        here = asyncio.create_task(session.wait_for_operation(*alone))
        for _ in range(5):
            attempt = asyncio.create_task(engine.attempt("wait", moved))
            await engine.clock.sleep(1200)
            attempt.cancel()
            await asyncio.wait({attempt})
        await engine.attempt("wait", moved)
        await here
    assert len(server.requests_for(moved)) == pytest.approx(len(server.requests_for(alone)), rel=0.1)
    assert tags(server, moved).count(None) == 1


async def test_single_looks_cost_what_a_wait_costs(engine: Engine, server: FakeSchedules) -> None:
    """Each attempt is one conditional look of a worker that knows nothing but the engine's text."""
    alone, moved = server.start_operation(duration=1200), server.start_operation(duration=1200)
    engine.polling = EVEN
    async with server.session(rate_limits=UNLIMITED, polling=EVEN) as session:
        _, final = await asyncio.gather(session.wait_for_operation(*alone), engine.look_to_the_end(moved))
    assert final.is_succeeded
    assert len(server.requests_for(moved)) == pytest.approx(len(server.requests_for(alone)), rel=0.1)
    assert tags(server, moved).count(None) == 1


async def test_a_look_holds_nothing_until_the_next(engine: Engine, server: FakeSchedules) -> None:
    ref = server.start_operation(duration=600)
    failure = await engine.failure("poll", ref)
    assert (failure.type, failure.message) == ("StillRunning", "Started at 0 %")
    assert failure.next_retry_delay is not None
    assert failure.next_retry_delay.total_seconds() == pytest.approx(1, rel=POLICY.jitter)
    assert engine.clock.monotonic() == 0
    assert Memory.from_json(engine.details[-1]).polls[0].time == ZERO


async def test_a_refused_look_comes_again_when_the_service_says(engine: Engine, server: FakeSchedules) -> None:
    server.interrupt(throttled(retry_after=90))
    failure = await engine.failure("poll", server.start_operation(duration=600))
    assert (failure.type, failure.non_retryable) == ("RateLimitedError", False)
    assert failure.next_retry_delay == timedelta(seconds=90)
    assert engine.clock.monotonic() == 0


@pytest.mark.parametrize("name", ["wait", "poll"])
async def test_faults_that_may_pass_are_tried_again_and_others_are_not(
    engine: Engine, server: FakeSchedules, name: str
) -> None:
    broken = server.script_operation(fault(503))
    failure = await engine.failure(name, broken)
    assert (failure.type, failure.non_retryable) == ("ServerError", False)
    assert failure.next_retry_delay == timedelta(seconds=POLICY.max_interval)
    failure = await engine.failure(name, OperationRef("no", "such"))
    assert (failure.type, failure.non_retryable) == ("NotFoundError", True)


@pytest.mark.parametrize("name", ["wait", "poll"])
async def test_ids_that_name_nothing_are_final(engine: Engine, name: str) -> None:
    activities = OperationActivities(engine.server.session(), {}, POLICY, engine.clock, lambda: 0.5)
    with pytest.raises(ApplicationError) as raised:
        await ActivityEnvironment().run(getattr(activities, name), OperationWait("s", ".."))
    assert (raised.value.type, raised.value.non_retryable) == ("ValueError", True)


async def test_not_found_means_not_yet_for_a_while(engine: Engine, server: FakeSchedules) -> None:
    """From when the activity was asked for, over all its attempts."""
    engine.polling = PollingPolicy(not_found_grace=10)
    ref = OperationRef("not", "yet")
    failure = await engine.failure("poll", ref)
    assert (failure.type, failure.non_retryable) == ("StillRunning", False)
    await engine.clock.sleep(11)
    failure = await engine.failure("poll", ref)
    assert (failure.type, failure.non_retryable) == ("NotFoundError", True)
    assert len(server.requests) == 2


@pytest.mark.parametrize("name", ["wait", "poll"])
async def test_no_token_reaches_the_engine(engine: Engine, server: FakeSchedules, name: str) -> None:
    """Neither the bearer nor what a token function of the caller's raises stands in a failure or its chain."""
    canary = "what-the-engine-must-not-see"  # a word of its own: the caller's error may be chained, and show it

    async def give() -> str:
        raise RuntimeError(canary)

    ref = server.start_operation(duration=1)
    for token, error in ((canary, "AuthenticationError"), (give, AuthenticationError.__name__)):
        engine.token = token
        failure = await engine.failure(name, ref)
        sent = await encoded(failure)
        assert error in sent
        assert canary not in sent
    assert not any(canary in text for text in engine.details)


async def encoded(failure: ApplicationError) -> str:
    message = Failure()
    await DataConverter.default.encode_failure(failure, message)
    return str(message)
