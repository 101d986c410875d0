"""The terminal application, driven by the pilot of Textual on a headless screen."""

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from chromium import load

from schedules_async import OperationRef, PollingPolicy, SchedulesSession
from schedules_async.testing import FakeClock, FakeSchedules

textual_app = load("textual_app")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(auto=False)


@pytest.fixture
async def session(server: FakeSchedules) -> AsyncIterator[SchedulesSession]:
    async with server.session(polling=PollingPolicy.fixed(1.0), rate_limits=()) as session:
        yield session


def screen(app: Any) -> list[tuple[str, float, str, str]]:
    """Return the name, progress, state and time remaining of each row."""
    return [
        (row.waiter.ref.operation_id, row.bar.progress, str(row.state.content), str(row.remaining.content))
        for row in app.query(textual_app.Row)
    ]


async def submit(pilot: Any, text: str) -> None:
    pilot.app.query_one("Input").value = text
    await pilot.press("enter")


async def test_app_displays_running_ended_and_lost_operations(
    server: FakeSchedules, session: SchedulesSession, clock: FakeClock
) -> None:
    refs = [
        server.start_operation(40, operation_id="clone", sub_status="Copying [tasks]"),
        server.start_operation(20, operation_id="rules", progress=lambda x: 60 * x, fails_with="Rule [7]"),
        OperationRef("no", "such"),
    ]
    app = textual_app.OperationsApp(session, refs)
    async with app.run_test() as pilot:
        await clock.advance(10.0)
        await pilot.pause()
        rows = screen(app)
        assert [row[:3] for row in rows[:2]] == [("clone", 0.25, "Copying [tasks]"), ("rules", 0.3, "Started")]
        assert re.fullmatch(r"0:00:\d\d - 0:00:\d\d left", rows[0][3])
        assert rows[2][2].startswith("✗ ")
        await clock.advance(30.0)
        await pilot.pause()
        assert screen(app)[:2] == [("clone", 1.0, "✓ Succeeded", ""), ("rules", 0.6, "✗ Rule [7]", "")]
        assert [sorted(row.classes) for row in app.query(textual_app.Row)] == [["succeeded"], ["failed"], ["failed"]]


async def test_operation_is_added_by_ids_or_url(
    server: FakeSchedules, session: SchedulesSession, clock: FakeClock
) -> None:
    server.start_operation(40, schedule_id="bridge", operation_id="one")
    other = server.start_operation(40, schedule_id="bridge", operation_id="two")
    app = textual_app.OperationsApp(session, [])
    async with app.run_test(notifications=True) as pilot:
        for text in ("nonsense", "http://host/nonsense"):
            await submit(pilot, text)
            assert text in list(app._notifications)[-1].message
        assert screen(app) == []
        for text in ("bridge/one", server.url_of(other)):
            await submit(pilot, text)
        await clock.advance(10.0)
        await pilot.pause()
        assert [row[:2] for row in screen(app)] == [("one", 0.25), ("two", 0.25)]


async def test_wait_is_cancelled_with_its_row(
    server: FakeSchedules, session: SchedulesSession, clock: FakeClock
) -> None:
    """The row is removed, and only the polling of its operation stops."""
    refs = [server.start_operation(400, operation_id=name) for name in ("first", "second")]
    app = textual_app.OperationsApp(session, refs)
    async with app.run_test() as pilot:
        await clock.advance(2.0)
        await pilot.press("tab", "down", "delete")
        await pilot.pause()
        counts = [len(server.requests_for(ref)) for ref in refs]
        await clock.advance(5.0)
        assert [len(server.requests_for(ref)) - before for ref, before in zip(refs, counts, strict=True)] == [5, 0]
        assert [row[0] for row in screen(app)] == ["first"]


async def test_app_exits_after_the_given_seconds(session: SchedulesSession) -> None:
    await textual_app.OperationsApp(session, [], seconds=0.01).run_async(headless=True)
