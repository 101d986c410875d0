"""Test your own code with the pytest fixtures of `schedules_async`, available once it is installed."""

import pytest

from schedules_async import OperationFailedError, SchedulesSession
from schedules_async.testing import FakeSchedules

pytestmark = pytest.mark.asyncio  # or pytest.mark.anyio; not needed in the mode "auto" of pytest-asyncio


async def export_report(session: SchedulesSession, schedule_id: str, operation_id: str) -> str:
    """Stand in for the code under test."""
    try:
        operation = await session.wait_for_operation(schedule_id, operation_id, timeout=3600)
    except OperationFailedError as error:
        return f"no report: {error.operation and error.operation.failure_description}"
    return f"report of {operation.updated_at:%d %B %Y}"


async def test_report_after_half_an_hour(fake_schedules: FakeSchedules, schedules_session: SchedulesSession) -> None:
    ref = fake_schedules.start_operation(duration=1800)
    assert await export_report(schedules_session, *ref) == "report of 01 January 2026"
    assert fake_schedules.clock.monotonic() >= 1800


async def test_failed_operation_gets_no_report(
    fake_schedules: FakeSchedules, schedules_session: SchedulesSession
) -> None:
    ref = fake_schedules.start_operation(fails_with="Rule 7 needs a calendar.")
    assert await export_report(schedules_session, *ref) == "no report: Rule 7 needs a calendar."


async def test_exhausted_quota_only_delays_the_report(
    fake_schedules: FakeSchedules, schedules_session: SchedulesSession
) -> None:
    fake_schedules.quota = 2  # requests a minute; others are answered with 429
    ref = fake_schedules.start_operation(duration=300)
    assert (await export_report(schedules_session, *ref)).startswith("report")
    assert schedules_session.stats.throttled > 0
