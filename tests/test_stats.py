"""The counts of a session."""

import asyncio

import pytest
from sessions import MakeSession

from schedules_async import PollingPolicy, RetryPolicy, SchedulesSession
from schedules_async._stats import DetectionDelay, SessionStats
from schedules_async.testing import Answer, FakeClock, FakeSchedules, fault, not_modified, operation_answer, throttled

STARTED = operation_answer("Started")


def done_at(updated_at: str) -> Answer:
    return operation_answer("Succeeded", updated_at=updated_at)


def test_stats_of_an_unused_session_are_zero() -> None:
    assert SchedulesSession("token").stats == SessionStats(0, 0, 0, 0, 0, DetectionDelay(), 0, 0.0)


async def test_stats_count_what_was_answered(make_session: MakeSession, server: FakeSchedules) -> None:
    session = make_session(retry=RetryPolicy(base=0))
    answers = [operation_answer("Started", etag='"a"'), not_modified(), throttled(2), fault(500)]
    ref = server.script_operation(*answers, operation_answer("Succeeded", updated_at="2026-01-01T00:00:03Z"))
    before = session.stats
    await session.wait_for_operation(*ref)
    assert before == SessionStats()
    stats = session.stats
    assert (stats.requests, stats.not_modified, stats.throttled, stats.retried, stats.updates) == (5, 1, 1, 1, 2)
    assert stats.in_flight == 0


async def test_stats_show_closed_gate_and_requests_in_flight(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    ref = server.script_operation(throttled(60), operation_answer("Succeeded", delay=5))
    call = asyncio.create_task(session.get_operation(*ref))
    await clock.sleep(10)
    assert (session.stats.in_flight, session.in_flight, session.stats.closed_for) == (0, 0, 50)
    await clock.sleep(52)
    assert (session.stats.in_flight, session.in_flight, session.stats.closed_for) == (1, 1, 0)
    await call
    assert session.stats.in_flight == 0


ENDS = {  # of an operation that is found running at 0 s and ended at 10 s, and the delays that are counted
    "2026-01-01T00:00:08Z": [2.0],
    "2026-01-01T00:00:10Z": [0.0],
    "2026-01-01T00:00:00Z": [10.0],
    "2026-01-01T00:00:12Z": [0.0],  # by a clock that is ahead
    "2025-12-31T23:59:59.5Z": [10.0],  # a Date is cut to whole seconds
    "2025-12-31T23:58:00Z": [],
    "2020-01-01T00:00:00Z": [],
    "0001-01-01T00:00:00Z": [],
}


@pytest.mark.parametrize("ended", ENDS)
async def test_delay_is_counted_only_since_the_last_poll(
    make_session: MakeSession, server: FakeSchedules, ended: str
) -> None:
    """A final updatedAt from before the poll that found the operation running is no time of its end."""
    session = make_session(polling=PollingPolicy.fixed(10))
    await session.wait_for_operation(*server.script_operation(STARTED, done_at(ended)))
    delay = session.stats.detection_delay
    assert [delay.max] * delay.count == ENDS[ended]


async def test_delays_of_a_session_are_averaged(make_session: MakeSession, server: FakeSchedules) -> None:
    session = make_session(polling=PollingPolicy.fixed(10))
    ends = [f"2026-01-01T00:00:{second:02}Z" for second in (8, 6, 10)]
    await session.wait_for_operations([server.script_operation(STARTED, done_at(ended)) for ended in ends])
    assert session.stats.detection_delay == DetectionDelay(count=3, mean=2.0, max=4.0)


async def test_end_found_by_first_poll_has_no_delay(session: SchedulesSession, server: FakeSchedules) -> None:
    """Nor has one that nobody waited for meanwhile: the last poll that found it running was long before."""
    await session.wait_for_operation(*server.script_operation(done_at("2026-01-01T00:00:00Z")))
    ref = server.start_operation(duration=20)
    async for _ in session.wait_for_operation(*ref):
        break
    await session.get_operation(*ref)
    assert session.stats.detection_delay.count == 0


def test_stats_are_frozen() -> None:
    for value, name in ((SessionStats(), "requests"), (DetectionDelay(), "count")):
        with pytest.raises(AttributeError):
            setattr(value, name, 1)
