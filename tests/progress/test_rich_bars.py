import asyncio
import io
from collections.abc import Callable
from typing import Any

import pytest
from event_loops import turns
from rich.console import Console
from screen import Screen as Shown

from schedules_async import OperationGroupError, OperationRef, OperationWaiter, SchedulesSession
from schedules_async._waiters.waiter import GroupWaiter
from schedules_async.progress.board import Board, Traffic
from schedules_async.progress.rich_bars import RichProgress, Screen, is_live
from schedules_async.testing import FakeSchedules, operation_answer

MakeSession = Callable[..., SchedulesSession]


def show(waiter: OperationWaiter | GroupWaiter[Any], names: dict[OperationRef, str] | None = None) -> Board:
    board = Board(names)
    board.add(waiter.members)
    return board


def draw(board: Board, width: int = 80, height: int = 25, encoding: str = "utf-8", footer: Any = None) -> list[str]:
    board.update()
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    Console(file=stream, width=width, height=height).print(Screen(board, footer), end="")
    stream.seek(0)
    return stream.read().splitlines()


def script(server: FakeSchedules, *percents: float, end: str = "Succeeded", **facts: Any) -> OperationRef:
    answers = [operation_answer("Started", percent_complete=percent, sub_status="Reading") for percent in percents]
    return server.script_operation(*answers, operation_answer(end, **facts))


async def test_a_bar_shows_where_its_operation_stands(server: FakeSchedules, session: SchedulesSession) -> None:
    ref = script(server, 25, 50)
    waiter = session.wait_for_operation(*ref)
    board = show(waiter, {ref: "import"})
    assert "not seen yet" in draw(board)[0]
    async for operation in waiter:
        if operation.percent_complete == 50:
            line, footer = draw(board, footer=Traffic(session))
            assert line.startswith("  import ")
            assert " 50 % Reading " in line
            assert line.endswith(" s left")
            assert footer.strip() == "2 requests, 0 saved by 304"
    assert draw(board)[0].startswith("✓ import ")
    assert "100 % Succeeded" in draw(board)[0]


async def test_a_failed_operation_shows_its_reason_and_how_far_it_came(
    server: FakeSchedules, session: SchedulesSession
) -> None:
    ref = script(server, 40, end="Failed", percent_complete=60, failure_description="No\x1b room")
    waiter = session.wait_for_operation(*ref, check=False)
    board = show(waiter, {ref: "import"})
    await waiter
    line = draw(board)[0]
    assert line.startswith("✗ import ")
    assert line.rstrip().endswith("60 % No room")


async def test_a_lost_wait_says_why_and_the_total_counts_it(server: FakeSchedules, session: SchedulesSession) -> None:
    ref = script(server, 40)
    waiter = session.wait_for_operations([ref, OperationRef(ref.schedule_id, "gone")], check=False)
    board = show(waiter)
    await waiter
    assert "  0 % there is no such operation: 404" in draw(board, width=120)[1]
    assert draw(board)[2].rstrip().endswith("100 % 2 of 2 ended, 1 failed")


@pytest.mark.parametrize("width", [30, 50, 80, 200])
async def test_every_bar_is_one_line_of_any_terminal(
    server: FakeSchedules, session: SchedulesSession, width: int
) -> None:
    names = ["a long name that does not fit " * 3, "short", "漢字" * 30]
    refs = {script(server, 50): name for name in names}
    waiter = session.wait_for_operations(refs)
    board = show(waiter, refs)
    for _ in range(2):
        lines = draw(board, width, footer=lambda: "a footer that is far longer than many a terminal is wide, and on")
        assert len(lines) == 5
        assert all(len(line) <= width for line in lines)
        await waiter


@pytest.mark.parametrize(("height", "bars"), [(24, 20), (10, 6), (5, 1), (2, 1)])
def test_there_are_no_more_lines_than_the_terminal_has(session: SchedulesSession, height: int, bars: int) -> None:
    board = show(session.wait_for_operations([("s", str(number)) for number in range(500)]))
    lines = draw(board, height=height, footer=Traffic(session))
    assert len(lines) == bars + 3 <= max(height - 1, 4)
    assert lines[bars].strip() == f"and {500 - bars} more"


async def test_a_terminal_without_unicode_gets_plain_marks(server: FakeSchedules, session: SchedulesSession) -> None:
    ref = script(server, 50)
    waiter = session.wait_for_operation(*ref)
    board = show(waiter, {ref: "import"})
    await waiter
    assert draw(board, encoding="ascii")[0].startswith("ok import")


class Terminal(io.StringIO):
    """Says that it is a terminal, and counts how often it is written to."""

    writes = 0

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.writes += 1
        return super().write(text)


@pytest.mark.parametrize(
    ("environment", "is_wanted"), [({"TERM": "xterm"}, True), ({"TERM": "dumb"}, False), ({"NO_COLOR": "1"}, True)]
)
def test_bars_are_drawn_where_they_can_be(environment: dict[str, str], *, is_wanted: bool) -> None:
    assert is_live(Console(file=Terminal(), _environ=environment)) is is_wanted


def test_no_bars_go_to_a_file_even_with_forced_colours() -> None:
    assert not is_live(Console(file=io.StringIO(), _environ={"FORCE_COLOR": "1", "TERM": "xterm"}))


def shown_by(terminal: io.StringIO) -> Shown:
    screen = Shown()
    screen.write(terminal.getvalue())
    return screen


async def test_tracking_draws_on_a_terminal_and_leaves_the_last_frame(
    server: FakeSchedules, session: SchedulesSession
) -> None:
    refs = [script(server, 30), script(server, end="Failed", failure_description="No room")]
    terminal = Terminal()
    console = Console(file=terminal, width=80, _environ={"TERM": "xterm", "NO_COLOR": "1"})
    names = dict(zip(refs, ("good", "bad"), strict=True))
    with pytest.raises(OperationGroupError):
        await RichProgress(names=names, session=session, console=console).track(session.wait_for_operations(refs))
    screen = shown_by(terminal)
    assert [line[:7].strip() for line in screen.shown] == ["✓ good", "✗ bad", "total", "3 reque"]
    assert screen.is_cursor_seen
    assert "\x1b[3" not in terminal.getvalue(), "NO_COLOR"


async def test_a_frame_is_one_write(session: SchedulesSession) -> None:
    terminal = Terminal()
    progress = RichProgress(session=session, console=Console(file=terminal, _environ={"TERM": "xterm"}))
    with progress.showing(session.wait_for_operations([("s", str(number)) for number in range(500)])):
        before = terminal.writes
        progress._redraw()
        progress._redraw()
        assert terminal.writes - before == 2


async def test_a_narrower_terminal_is_left_with_nothing_of_the_wider_frame(session: SchedulesSession) -> None:
    """What it has broken into several lines is erased: here six of 80 columns, which 50 columns broke into two each."""
    terminal = Terminal()
    console = Console(file=terminal, width=80, height=24, _environ={"TERM": "xterm"})
    progress = RichProgress(console=console)
    with progress.showing(session.wait_for_operations([("s", str(number)) for number in range(5)])):
        progress._redraw()
        console.width = 50
        before = len(terminal.getvalue())
        progress._redraw()
        assert terminal.getvalue()[before:].startswith("\x1b[2K\x1b[1A" * 6 + "\r")
        before = len(terminal.getvalue())
        progress._redraw()
        assert terminal.getvalue()[before:].startswith("\r")


async def test_the_cursor_comes_back_when_the_wait_is_cancelled(session: SchedulesSession) -> None:
    terminal = Terminal()
    progress = RichProgress(console=Console(file=terminal, _environ={"TERM": "xterm"}))
    tracking = asyncio.create_task(progress.track(session.wait_for_operation("s", "o")))
    await turns(3)
    assert not shown_by(terminal).is_cursor_seen
    tracking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await tracking
    assert shown_by(terminal).is_cursor_seen


async def test_where_there_is_no_terminal_each_change_is_a_line(
    server: FakeSchedules, session: SchedulesSession
) -> None:
    stream, ref = io.StringIO(), script(server, 30, 60)
    waiter = session.wait_for_operation(*ref)
    progress = RichProgress(names=lambda _: "import", console=Console(file=stream, width=20))
    assert (await progress.track(waiter)).is_succeeded
    first, second, last = stream.getvalue().splitlines()
    assert first == "import: Started, 30 %, Reading"
    assert second.startswith("import: Started, 60 %, Reading, ")
    assert second.endswith(" s left")
    assert last == "import: Succeeded"
