"""The counts of a session."""

import asyncio

import pytest
from conftest import MakeSession

from schedules_async import RetryPolicy, SchedulesSession
from schedules_async._stats import DetectionDelay, SessionStats
from schedules_async.testing import FakeClock, FakeSchedules, fault, not_modified, operation_answer, throttled


@pytest.mark.parametrize(
    ("delays", "expected"),
    [
        ([], DetectionDelay(0, 0.0, 0.0)),
        ([2.0], DetectionDelay(1, 2.0, 2.0)),
        ([2.0, 4.0, 0.0], DetectionDelay(3, 2.0, 4.0)),
        ([5.0, 1.0], DetectionDelay(2, 3.0, 5.0)),
    ],
)
def test_delays_are_averaged(delays: list[float], expected: DetectionDelay) -> None:
    delay = DetectionDelay()
    for one in delays:
        delay = delay.with_one_more(one)
    assert delay == expected


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
    assert (session.stats.in_flight, session.stats.closed_for) == (0, 50)
    await clock.sleep(52)
    assert (session.stats.in_flight, session.stats.closed_for) == (1, 0)
    await call
    assert session.stats.in_flight == 0


def test_stats_are_frozen() -> None:
    for value, name in ((SessionStats(), "requests"), (DetectionDelay(), "count")):
        with pytest.raises(AttributeError):
            setattr(value, name, 1)
