"""Single fetches: one outcome, a bounded number of attempts, and a bounded time of throttling."""

import asyncio
import math

import pytest
from event_loops import turns
from sessions import MakeSession

from schedules_async import (
    Operation,
    OperationStatus,
    RateLimitedError,
    RetryPolicy,
    SchedulesSession,
    ServerError,
)
from schedules_async._waiters.single_fetch import SingleFetch
from schedules_async.testing import Answer, FakeClock, FakeSchedules, fault, operation_answer, throttled

DONE = operation_answer("Succeeded")
OPERATION = Operation("operation", "schedule", OperationStatus.STARTED)


async def test_call_with_several_outcomes_returns_the_first() -> None:
    """The session may end it more than once before it wakes."""
    fetch = SingleFetch(max_retry_after=10.0)
    fetch.on_end(RateLimitedError("first"))
    fetch.on_end(RateLimitedError("second"))
    fetch.on_end(asyncio.CancelledError())
    with pytest.raises(RateLimitedError, match="first"):
        await fetch.result()


async def test_snapshot_is_returned_though_an_error_follows() -> None:
    fetch = SingleFetch(max_retry_after=10.0)
    fetch.on_end(OPERATION)
    fetch.on_end(RateLimitedError("late"))
    assert await fetch.result() is OPERATION


async def test_outcome_after_a_cancelled_call_is_dropped() -> None:
    fetch = SingleFetch(max_retry_after=10.0)
    call = asyncio.ensure_future(fetch.result())
    await turns(1)
    call.cancel()
    await asyncio.wait([call])
    fetch.on_end(RateLimitedError("late"))
    assert call.cancelled()


@pytest.mark.parametrize("status", OperationStatus)
async def test_any_snapshot_ends_the_fetch(status: OperationStatus) -> None:
    """Also one that reports a failed operation."""
    operation = Operation("operation", "schedule", status)
    assert SingleFetch().conclude(operation, 0.0) is operation


async def test_throttling_budget_counts_from_the_first_429() -> None:
    """Gates that open by 110 are accepted by a fetch that met its first 429 at 100."""
    fetch = SingleFetch(max_retry_after=10.0)
    assert fetch.tolerates(until=105.0, now=100.0)
    assert fetch.tolerates(until=110.0, now=106.0)
    assert not fetch.tolerates(until=110.5, now=110.0)
    assert fetch.tolerates(until=110.0, now=110.0)


async def test_fetch_never_stalls() -> None:
    assert SingleFetch().stalls_at() == math.inf


async def test_fetch_without_budget_accepts_open_gate_only() -> None:
    fetch = SingleFetch(max_retry_after=0.0)
    assert fetch.tolerates(until=5.0, now=5.0)
    assert not fetch.tolerates(until=5.1, now=5.0)


@pytest.mark.parametrize("attempts", [1, 3])
async def test_fetch_gives_up_with_its_last_attempt(
    attempts: int, make_session: MakeSession, server: FakeSchedules
) -> None:
    ref = server.script_operation(*[fault(500)] * attempts, DONE)
    with pytest.raises(ServerError):
        await make_session(retry=RetryPolicy(attempts=attempts)).get_operation(*ref)
    assert len(server.requests) == attempts


async def test_call_accepts_429s_for_bounded_time_in_all(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    ref = server.script_operation(*[throttled(50)] * 3, DONE)
    with pytest.raises(RateLimitedError) as caught:
        await session.get_operation(*ref)
    assert clock.monotonic() == 100
    assert (caught.value.ref, caught.value.retry_after) == (ref, 50)
    assert caught.value.limits["ITwinPlatform-RateLimited-Tier"]


async def test_throttling_of_a_call_before_does_not_count(session: SchedulesSession, server: FakeSchedules) -> None:
    """Each call has a budget of its own: 120 s by default."""
    ref = server.script_operation(throttled(100), DONE, throttled(100), DONE)
    for _ in range(2):
        assert (await session.get_operation(*ref)).is_succeeded


async def test_429s_between_faults_use_up_no_attempt(
    make_session: MakeSession, server: FakeSchedules, clock: FakeClock
) -> None:
    """The third fault in a row ends a call with three attempts, whatever throttling there is between."""
    session = make_session(retry=RetryPolicy(attempts=3))
    good = server.script_operation(fault(503), throttled(2), fault(503), throttled(2), DONE)
    assert (await session.get_operation(*good)).is_succeeded
    bad = server.script_operation(fault(503), throttled(2), fault(503), throttled(2), fault(503), DONE)
    with pytest.raises(ServerError):
        await session.get_operation(*bad)
    assert session.stats.requests == 10
    assert clock.monotonic() >= 8


@pytest.mark.parametrize("max_retry_after", [0.0, 120.0])
async def test_faults_use_up_no_throttling_budget(
    make_session: MakeSession, server: FakeSchedules, clock: FakeClock, max_retry_after: float
) -> None:
    """All attempts are made, however long their backoff delays are in all."""
    session = make_session(retry=RetryPolicy(attempts=30, max_retry_after=max_retry_after))
    with pytest.raises(ServerError):
        await session.get_operation(*server.script_operation(fault(500)))
    assert session.stats.requests == 30
    assert clock.monotonic() > 120


async def test_retry_after_of_a_fault_uses_no_throttling_budget(
    make_session: MakeSession, server: FakeSchedules, clock: FakeClock
) -> None:
    session = make_session(retry=RetryPolicy(max_retry_after=100))
    ref = server.script_operation(fault(500, retry_after=60), throttled(60), DONE)
    assert (await session.get_operation(*ref)).is_succeeded
    assert clock.monotonic() == 120


async def test_throttling_budget_begins_after_faults(make_session: MakeSession, server: FakeSchedules) -> None:
    session = make_session(retry=RetryPolicy(attempts=30))
    ref = server.script_operation(*[fault(500)] * 8, throttled(119), DONE)
    assert (await session.get_operation(*ref)).is_succeeded


@pytest.mark.parametrize("problem", [fault(502), fault(500, retry_after=3000)])
async def test_call_beside_a_wait_in_outage_fails_as_soon(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock, problem: Answer
) -> None:
    """A backoff delay, or a Retry-After, that the wait has reached does not delay the attempts of the call."""
    ref = server.script_operation(problem)
    wait = asyncio.ensure_future(session.wait_for_operation(*ref))
    await clock.sleep(200)
    with pytest.raises(ServerError):
        await session.get_operation(*ref)
    assert clock.monotonic() < 215
    assert not wait.done()
    wait.cancel()
