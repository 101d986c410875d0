"""Test code of your own with the fixtures that pytest finds by itself once `schedules_async` is installed."""

import pytest

from schedules_async import OperationFailedError, SchedulesSession
from schedules_async.testing import FakeSchedules

pytestmark = pytest.mark.asyncio  # or pytest.mark.anyio; neither is needed in pytest-asyncio's mode "auto"


async def export_report(session: SchedulesSession, schedule_id: str, operation_id: str) -> str:
    """Stand for the code under test."""
    try:
        operation = await session.wait_for_operation(schedule_id, operation_id, timeout=3600)
    except OperationFailedError as error:
        return f"no report: {error.operation and error.operation.failure_description}"
    return f"report of {operation.updated_at:%d %B %Y}"


async def test_half_an_hour_passes_at_once(fake_schedules: FakeSchedules, schedules_session: SchedulesSession) -> None:
    ref = fake_schedules.start_operation(duration=1800)
    assert await export_report(schedules_session, *ref) == "report of 01 January 2026"
    assert fake_schedules.clock.monotonic() >= 1800


async def test_a_failure_is_told(fake_schedules: FakeSchedules, schedules_session: SchedulesSession) -> None:
    ref = fake_schedules.start_operation(fails_with="Rule 7 needs a calendar.")
    assert await export_report(schedules_session, *ref) == "no report: Rule 7 needs a calendar."


async def test_a_used_up_quota_only_delays(fake_schedules: FakeSchedules, schedules_session: SchedulesSession) -> None:
    fake_schedules.quota = 2  # requests a minute; the rest meets a 429
    ref = fake_schedules.start_operation(duration=300)
    assert (await export_report(schedules_session, *ref)).startswith("report")
    assert schedules_session.stats.throttled > 0
