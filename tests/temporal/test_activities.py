"""Each attempt runs in an environment of its own, as if on another worker."""

import asyncio
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from attrs import define, field
from sessions import UNLIMITED
from temporal_servers import running_worker, start, temporal, until
from temporalio.api.failure.v1 import Failure
from temporalio.client import Client
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.testing import ActivityEnvironment

from schedules_async import (
    AuthenticationError,
    MalformedResponseError,
    NotFoundError,
    Operation,
    OperationRef,
    OperationStatus,
    PermissionDeniedError,
    PollingPolicy,
    RateLimitedError,
    ResponseError,
    RetryPolicy,
    ServerError,
    SessionClosedError,
    TransportError,
)
from schedules_async._polling.experience import Experience
from schedules_async._polling.forecast import Progress
from schedules_async.temporal import OperationActivities, OperationWait, WaitRequest
from schedules_async.temporal.activities import pending_details, pending_percents, to_failure
from schedules_async.temporal.payloads import HeartbeatDetails
from schedules_async.testing import FakeClock, FakeSchedules, fault, operation_answer, stall, throttled
from schedules_async.testing.answers import START_OF_TIME

ZERO = datetime.fromisoformat(START_OF_TIME).timestamp()
POLICY = PollingPolicy()
EVEN = PollingPolicy(jitter=0)  # without randomness in the number of polls


def to_date(time: float) -> datetime:
    """Return the UTC date of seconds since 1970."""
    return datetime.fromtimestamp(time, UTC)


@define(eq=False)
class Engine:
    """Runs attempts on the fake clock, as Temporal does, and keeps their heartbeats."""

    server: FakeSchedules
    clock: FakeClock
    polling: PollingPolicy = POLICY
    experience: Experience | None = None  # of a worker that is not replaced
    token: object = field(init=False)
    details: list[str] = field(factory=list)
    heartbeat_times: list[float] = field(factory=list)
    environment: ActivityEnvironment = field(factory=ActivityEnvironment)

    def __attrs_post_init__(self) -> None:
        self.token = self.server.token

    async def attempt(
        self, name: str, ref: OperationRef, details: str = "", heartbeat_timeout: float | None = None
    ) -> str:
        """Run one attempt on a worker without any state."""
        snapshots: dict[OperationRef, Operation] = {}
        now = to_date(ZERO + self.clock.monotonic())
        self.environment = ActivityEnvironment()
        self.environment.on_heartbeat = self.keep
        self.environment.info = replace(
            self.environment.info,
            started_time=now,
            scheduled_time=to_date(ZERO),
            heartbeat_details=self.details[-1:],
            heartbeat_timeout=None if heartbeat_timeout is None else timedelta(seconds=heartbeat_timeout),
        )
        async with self.server.session(
            snapshots=snapshots, rate_limits=UNLIMITED, retry=RetryPolicy(max_retry_after=0), auth=self.token
        ) as session:
            experience = self.experience or Experience()
            activities = OperationActivities(session, snapshots, self.polling, self.clock, lambda: 0.5, experience)
            try:
                result = await self.environment.run(
                    getattr(activities, name), OperationWait(ref.schedule_id, ref.operation_id, details)
                )
            finally:
                assert snapshots == {}
        assert isinstance(result, str)
        return result

    def keep(self, *details: str) -> None:
        """Store a heartbeat."""
        self.details.extend(details)
        self.heartbeat_times.append(self.clock.monotonic())

    async def failure(self, name: str, ref: OperationRef, details: str = "") -> ApplicationError:
        """Return the failure of an attempt."""
        with pytest.raises(ApplicationError) as raised:
            await self.attempt(name, ref, details)
        return raised.value

    async def poll_to_the_end(self, ref: OperationRef) -> Operation:
        """Run attempts of one poll each, at the delays that they request."""
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


async def test_wait_sends_heartbeat_for_every_change(engine: Engine, server: FakeSchedules) -> None:
    ref = server.start_operation(duration=60)
    final = Operation.from_json(await engine.attempt("wait", ref))
    sent = [HeartbeatDetails.from_json(text).operation for text in engine.details]
    assert final.is_succeeded
    assert sent[-1] == final
    assert len(sent) == len(server.requests_for(ref)) > 5
    assert all(operation is not None and operation.etag for operation in sent)


async def test_unchanged_operation_still_sends_heartbeats_with_snapshot(engine: Engine, server: FakeSchedules) -> None:
    """A heartbeat without the snapshot would replace the previous one."""
    ref = server.start_operation(duration=300, progress="none")
    await engine.attempt("wait", ref, heartbeat_timeout=9)
    assert max(later - sooner for sooner, later in pairwise(engine.heartbeat_times)) <= 3
    assert all(HeartbeatDetails.from_json(text).operation for text in engine.details)


async def test_heartbeat_before_first_snapshot_is_empty(engine: Engine, server: FakeSchedules) -> None:
    server.refuse(retry_after=30)
    ref = server.start_operation(duration=1)
    await engine.attempt("wait", ref, heartbeat_timeout=9)
    assert engine.details[0] == ""


async def test_wait_on_another_worker_sends_saved_etag(engine: Engine, server: FakeSchedules) -> None:
    ref = server.start_operation(duration=60, progress="none")
    first = asyncio.create_task(engine.attempt("wait", ref))
    await engine.clock.sleep(20)
    first.cancel()
    await asyncio.wait({first})
    before = len(server.requests_for(ref))
    saved = HeartbeatDetails.from_json(engine.details[-1]).operation
    await engine.attempt("wait", ref)
    resumed = server.requests_for(ref)[before]
    assert saved is not None
    assert (resumed.if_none_match, resumed.status) == (saved.etag, 304)


@pytest.mark.parametrize("name", ["wait", "poll"])
async def test_details_of_earlier_activity_supply_first_etag(engine: Engine, server: FakeSchedules, name: str) -> None:
    ref = server.script_operation(operation_answer("Started", etag='"a"'), operation_answer("Succeeded"))
    saved = Operation(ref.operation_id, ref.schedule_id, OperationStatus.STARTED, etag='"a"')
    details = HeartbeatDetails(saved)
    await engine.failure("poll", ref, details.to_json())
    await engine.attempt(name, ref)
    assert tags(server, ref)[0] == '"a"'


async def test_cancelled_wait_ends_without_further_requests(engine: Engine, server: FakeSchedules) -> None:
    ref = server.start_operation(duration=600)
    task = asyncio.create_task(engine.attempt("wait", ref, heartbeat_timeout=9))
    await engine.clock.sleep(100)
    count, now = len(server.requests), engine.clock.monotonic()
    engine.environment.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert engine.clock.monotonic() == now
    assert engine.clock.sleeping == 0
    assert len(server.requests) == count
    assert {request.method for request in server.requests} == {"GET"}


async def test_wait_moved_between_workers_costs_equal_polls(engine: Engine, server: FakeSchedules) -> None:
    alone, moved = server.start_operation(duration=3600), server.start_operation(duration=3600)
    engine.polling = EVEN
    async with server.session(rate_limits=UNLIMITED, polling=EVEN) as session:
        here = asyncio.create_task(session.wait_for_operation(*alone))
        for _ in range(5):
            attempt = asyncio.create_task(engine.attempt("wait", moved))
            await engine.clock.sleep(600)
            attempt.cancel()
            await asyncio.wait({attempt})
        await engine.attempt("wait", moved)
        await here
    assert len(server.requests_for(moved)) == pytest.approx(len(server.requests_for(alone)), rel=0.1)
    assert tags(server, moved).count(None) == 1


async def test_single_polls_cost_as_many_as_wait(engine: Engine, server: FakeSchedules) -> None:
    """Each attempt is one conditional poll of a worker that has only the heartbeat details."""
    alone, moved = server.start_operation(duration=1200), server.start_operation(duration=1200)
    engine.polling = EVEN
    async with server.session(rate_limits=UNLIMITED, polling=EVEN) as session:
        _, final = await asyncio.gather(session.wait_for_operation(*alone), engine.poll_to_the_end(moved))
    assert final.is_succeeded
    assert len(server.requests_for(moved)) == pytest.approx(len(server.requests_for(alone)), rel=0.1)
    assert tags(server, moved).count(None) == 1


async def test_single_polls_learn_from_ends_of_this_worker(server: FakeSchedules, clock: FakeClock) -> None:
    """Where all operations end at 70 %, the end is soon detected within seconds, and for fewer polls."""
    engine, delays = Engine(server, clock, EVEN, experience=Experience()), list[float]()
    for number in range(6):
        ref = server.start_operation(duration=300 + 20 * number, progress=lambda share: 70 * share)
        ends_at = clock.monotonic() + 300 + 20 * number
        engine.details.clear()
        assert (await engine.poll_to_the_end(ref)).is_succeeded
        delays.append(clock.monotonic() - ends_at)
    assert engine.experience is not None
    assert engine.experience.count == 6
    assert delays[0] > 10
    assert max(delays[3:]) < 3


async def test_operation_never_polled_before_teaches_nothing(server: FakeSchedules, clock: FakeClock) -> None:
    engine = Engine(server, clock, experience=Experience())
    await engine.attempt("poll", server.start_operation(duration=0))
    assert engine.experience is not None
    assert engine.experience.count == 0


async def test_single_poll_returns_at_once_with_delay(engine: Engine, server: FakeSchedules) -> None:
    ref = server.start_operation(duration=600)
    failure = await engine.failure("poll", ref)
    assert (failure.type, failure.message) == ("OperationNotDone", "Started at 0 %")
    assert failure.category is ApplicationErrorCategory.BENIGN
    assert failure.next_retry_delay is not None
    assert failure.next_retry_delay.total_seconds() == pytest.approx(1, rel=POLICY.jitter)
    assert engine.clock.monotonic() == 0
    assert HeartbeatDetails.from_json(engine.details[-1]).polls[0][0] == ZERO


async def test_throttled_poll_is_retried_after_retry_after(engine: Engine, server: FakeSchedules) -> None:
    server.interrupt(throttled(retry_after=90))
    failure = await engine.failure("poll", server.start_operation(duration=600))
    assert (failure.type, failure.non_retryable) == ("RateLimitedError", False)
    assert failure.next_retry_delay == timedelta(seconds=90)
    assert engine.clock.monotonic() == 0


@pytest.mark.parametrize("name", ["wait", "poll"])
async def test_only_transient_faults_are_retried(engine: Engine, server: FakeSchedules, name: str) -> None:
    broken = server.script_operation(fault(503))
    failure = await engine.failure(name, broken)
    assert (failure.type, failure.non_retryable) == ("ServerError", False)
    assert failure.next_retry_delay == timedelta(seconds=POLICY.max_interval)
    failure = await engine.failure(name, OperationRef("no", "such"))
    assert (failure.type, failure.non_retryable) == ("NotFoundError", True)


@pytest.mark.parametrize("name", ["wait", "poll"])
async def test_invalid_id_is_not_retried(engine: Engine, name: str) -> None:
    activities = OperationActivities(engine.server.session(), {}, POLICY, engine.clock, lambda: 0.5)
    with pytest.raises(ApplicationError) as raised:
        await ActivityEnvironment().run(getattr(activities, name), OperationWait("s", ".."))
    assert (raised.value.type, raised.value.non_retryable) == ("ValueError", True)


@pytest.mark.parametrize(("interval", "kind"), [(math.inf, "ValueError"), (math.nan, "ValueError"), ("1", "TypeError")])
async def test_unusable_interval_of_a_policy_is_not_retried(
    engine: Engine, server: FakeSchedules, interval: Any, kind: str
) -> None:
    class Broken(PollingPolicy):
        def interval(self, progress: Progress, seed: float, sample: float, load: float = 1.0) -> float:
            del progress, seed, sample, load
            wrong: float = interval
            return wrong

    engine.polling = Broken()
    failure = await engine.failure("poll", server.start_operation(duration=600))
    assert (failure.type, failure.non_retryable) == (kind, True)


async def test_not_found_within_grace_is_retried(engine: Engine, server: FakeSchedules) -> None:
    """The time since the activity was scheduled counts, over all attempts."""
    engine.polling = PollingPolicy(not_found_grace=10)
    ref = OperationRef("not", "yet")
    failure = await engine.failure("poll", ref)
    assert (failure.type, failure.non_retryable) == ("OperationNotDone", False)
    await engine.clock.sleep(11)
    failure = await engine.failure("poll", ref)
    assert (failure.type, failure.non_retryable) == ("NotFoundError", True)
    assert len(server.requests) == 2


@pytest.mark.parametrize("name", ["wait", "poll"])
async def test_failure_contains_no_token(engine: Engine, server: FakeSchedules, name: str) -> None:
    """Neither the bearer token nor the exception of a token function occurs in a failure or its chain."""
    canary = "not-for-the-history"  # not one of conftest's: the caller's exception may be chained in the process

    async def get_token() -> str:
        raise RuntimeError(canary)

    ref = server.start_operation(duration=1)
    for token, error in ((canary, "AuthenticationError"), (get_token, AuthenticationError.__name__)):
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


# Failures


@pytest.mark.parametrize(
    ("error", "is_retried", "delay"),
    [
        (RateLimitedError("x", status=429, retry_after=90.0), True, 90),
        (RateLimitedError("x", status=429), True, 13),
        (TransportError("x"), True, 13),
        (TransportError("x", is_transient=False), False, 13),
        (ServerError("x", status=503, retry_after=0.0), True, 0),
        (ServerError("x", status=502), True, 13),
        (ServerError("x", status=501), False, 13),
        (ResponseError("x", status=408), True, 13),
        (ResponseError("x", status=400), False, 13),
        (AuthenticationError("x"), True, 13),
        (AuthenticationError("x", code="invalid_client"), False, 13),
        (AuthenticationError("x", status=401), False, 13),
        (PermissionDeniedError("x", status=403), False, 13),
        (NotFoundError("x", status=404), False, 13),
        (MalformedResponseError("x"), False, 13),
        (SessionClosedError("x"), True, 13),
        (ValueError("x"), False, 13),
    ],
)
def test_only_transient_errors_are_retryable(error: Exception, is_retried: bool, delay: float) -> None:
    failure = to_failure(error, 13.0)
    assert failure.non_retryable is not is_retried
    assert failure.next_retry_delay == timedelta(seconds=delay)
    assert (failure.type, failure.message) == (type(error).__name__, "x")


# Pending activities, on a real server of Temporal


def make_environment(client: Client) -> ActivityEnvironment:
    """Return the environment of an activity of the workflow `waiting`."""
    result = ActivityEnvironment(client)
    result.info = replace(result.info, workflow_id="waiting", workflow_run_id=None)
    return result


@pytest.mark.temporal
async def test_pending_waits_are_reported_by_activity_id() -> None:
    async with temporal() as engine, FakeSchedules() as service:
        unanswered = service.script_operation(stall())
        answered = service.script_operation(operation_answer("Started", percent_complete=40.0, etag='"a"'))
        async with running_worker(engine.client, service):
            await start(engine.client, WaitRequest.of([unanswered, answered]))
            await until(lambda: len(service.requests_for(answered)) > 1)
            details = await make_environment(engine.client).run(pending_details)
            assert await make_environment(engine.client).run(pending_percents) == {"1": 40.0}
    (operation,) = [HeartbeatDetails.from_json(text).operation for text in details.values()]
    assert operation is not None
    assert (operation.ref, operation.etag) == (answered, '"a"')


@pytest.mark.temporal
async def test_workflow_without_waits_reports_nothing() -> None:
    async with temporal() as engine, FakeSchedules() as service, running_worker(engine.client, service):
        await (await start(engine.client, WaitRequest.of([]))).result()
        assert await make_environment(engine.client).run(pending_percents) == {}
