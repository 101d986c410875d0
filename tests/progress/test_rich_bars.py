import asyncio
import io
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any

import pytest
from event_loops import turns
from rich.console import Console
from rich.errors import LiveError
from rich.live import Live
from screen import Screen

from schedules_async import GroupWaiter, OperationGroupError, OperationRef, OperationWaiter, SchedulesSession
from schedules_async.progress import RichProgress
from schedules_async.progress.board import Board
from schedules_async.progress.rich_bars import draw_lines, is_live
from schedules_async.progress.text import format_stats
from schedules_async.testing import FakeSchedules, operation_answer

MakeSession = Callable[..., SchedulesSession]


def board_of(waiter: OperationWaiter | GroupWaiter[Any], names: dict[OperationRef, str] | None = None) -> Board:
    board = Board(names)
    board.add(waiter.members)
    return board


def draw(board: Board, width: int = 80, height: int = 25, encoding: str = "utf-8", footer: Any = None) -> list[str]:
    board.update()
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=stream, width=width, height=height)
    console.print(*draw_lines(board, footer, console), sep="\n")
    stream.seek(0)
    return stream.read().splitlines()


def script(server: FakeSchedules, *percents: float, end: str = "Succeeded", **facts: Any) -> OperationRef:
    answers = [operation_answer("Started", percent_complete=percent, sub_status="Reading") for percent in percents]
    return server.script_operation(*answers, operation_answer(end, **facts))


async def test_bar_shows_state_percent_and_time_left(server: FakeSchedules, session: SchedulesSession) -> None:
    ref = script(server, 25, 50)
    waiter = session.wait_for_operation(*ref)
    board = board_of(waiter, {ref: "import"})
    assert "no answer yet" in draw(board)[0]
    async for operation in waiter:
        if operation.percent_complete == 50:
            line, footer = draw(board, footer=lambda: format_stats(session.stats))
            assert line.startswith("  import ")
            assert " 50 % Reading " in line
            assert line.endswith(" s left")
            assert footer.strip() == "2 requests, 0 saved by 304"
    assert draw(board)[0].startswith("✓ import ")
    assert "100 % Succeeded" in draw(board)[0]


async def test_bar_of_failed_operation_shows_reason_and_percent(
    server: FakeSchedules, session: SchedulesSession
) -> None:
    ref = script(server, 40, end="Failed", percent_complete=60, failure_description="No\x1b room")
    waiter = session.wait_for_operation(*ref, check=False)
    board = board_of(waiter, {ref: "import"})
    await waiter
    line = draw(board)[0]
    assert line.startswith("✗ import ")
    assert line.rstrip().endswith("60 % No room")


async def test_bar_of_lost_operation_shows_the_error(server: FakeSchedules, session: SchedulesSession) -> None:
    ref = script(server, 40)
    waiter = session.wait_for_operations([ref, OperationRef(ref.schedule_id, "gone")], check=False)
    board = board_of(waiter)
    await waiter
    assert "  0 % operation not found: 404" in draw(board, width=120)[1]
    assert draw(board)[2].rstrip().endswith("100 % 2 of 2 ended, 1 failed")


@pytest.mark.parametrize("width", [30, 50, 80, 200])
async def test_frame_of_any_width_has_unwrapped_lines(
    server: FakeSchedules, session: SchedulesSession, width: int
) -> None:
    names = ["a long name that does not fit " * 3, "short", "漢字" * 30]
    refs = {script(server, 50): name for name in names}
    waiter = session.wait_for_operations(refs)
    board = board_of(waiter, refs)
    for _ in range(2):
        lines = draw(board, width, footer=lambda: "a footer that is far longer than many a terminal is wide, and on")
        assert len(lines) == 5
        assert all(len(line) <= width for line in lines)
        await waiter


@pytest.mark.parametrize(("height", "bars"), [(24, 20), (10, 6), (5, 1), (2, 1)])
def test_frame_of_many_fits_the_terminal_height(session: SchedulesSession, height: int, bars: int) -> None:
    board = board_of(session.wait_for_operations([("s", str(number)) for number in range(500)]))
    lines = draw(board, height=height, footer=lambda: format_stats(session.stats))
    assert len(lines) == bars + 3 <= max(height - 1, 4)
    assert lines[bars].strip() == f"and {500 - bars} more"


async def test_marks_without_unicode_are_ascii(server: FakeSchedules, session: SchedulesSession) -> None:
    ref = script(server, 50)
    waiter = session.wait_for_operation(*ref)
    board = board_of(waiter, {ref: "import"})
    await waiter
    assert draw(board, encoding="ascii")[0].startswith("ok import")


GUIDS = [f"{number:08x}-d132-5e23-8f94-906426f8ec{number:02x}" for number in (201, 202, 203)]


@pytest.mark.parametrize(("width", "state"), [(70, "Reading baselines"), (80, "Reading baselines 3 of 7")])
async def test_state_beside_guid_names_is_readable(
    server: FakeSchedules, session: SchedulesSession, width: int, state: str
) -> None:
    """The names are shortened in the middle, and the time remaining stays in its column."""
    answers = [
        operation_answer("Started", percent_complete=percent, sub_status="Reading baselines 3 of 7")
        for percent in (20, 25)
    ]
    refs = [server.script_operation(*answers, operation_id=guid) for guid in GUIDS]
    waiter = session.wait_for_operations(refs)
    board = board_of(waiter)
    changes = aiter(waiter)
    while any(one is None or one.percent_complete < 25 for one in map(waiter.latest.get, refs)):
        await anext(changes)
    lines = draw(board, width)
    assert all(state in line and line.endswith(" left") for line in lines[:3])
    assert len({line.split()[0] for line in lines[:3]}) == 3
    await changes.aclose()


@pytest.mark.parametrize("count", [3, 1000])
@pytest.mark.parametrize("width", [20, 25, 30, 39, 40, 60, 69, 70, 80, 120])
async def test_count_of_ended_operations_is_never_cut(session: SchedulesSession, width: int, count: int) -> None:
    refs = [("s", GUIDS[0] + str(number)) for number in range(count)]
    board = board_of(session.wait_for_operations(refs))
    *_, total = draw(board, width)
    assert f"0 of {count} ended" in total
    assert len(total) <= width


async def test_text_without_unicode_is_shortened_in_ascii(server: FakeSchedules, session: SchedulesSession) -> None:
    """Characters that the encoding lacks are replaced."""
    sub_status = "Reading the baselines of the schedule, é and 漢"
    answers = [operation_answer("Started", percent_complete=20, sub_status=sub_status)]
    ref = server.script_operation(*answers)
    waiter = session.wait_for_operation(*ref)
    board = board_of(waiter, {ref: "a name that is far too long"})
    changes = aiter(waiter)
    await anext(changes)
    assert draw(board, 80, encoding="latin-1")[0].startswith("   a name ...o long ")
    assert "Reading the baselines of the sched..." in draw(board, 80, encoding="latin-1")[0]
    assert "Reading the baselines of the schedule, é and ?" in draw(board, 120, encoding="latin-1")[0]
    assert "Reading the baselines of the schedule, ? and ?" in draw(board, 120, encoding="ascii")[0]
    footer = draw(board, 20, encoding="ascii", footer=lambda: "20 requests, 17 saved by 304")[1]
    assert footer == "20 requests, 17 s..."
    await changes.aclose()


class Terminal(io.StringIO):
    """A stream that passes for a terminal and counts the calls of `write`."""

    writes = 0

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.writes += 1
        return super().write(text)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "dumb"}, False),
        ({"NO_COLOR": "1"}, True),
        ({"TERM": "xterm", "COLUMNS": "1"}, True),
        ({"TERM": "xterm", "COLUMNS": "0"}, False),
    ],
)
def test_is_live_depends_on_the_terminal_type(environment: dict[str, str], *, expected: bool) -> None:
    assert is_live(Console(file=Terminal(), _environ=environment)) is expected


def test_is_live_file_with_forced_colour_is_false() -> None:
    assert not is_live(Console(file=io.StringIO(), _environ={"FORCE_COLOR": "1", "TERM": "xterm"}))


class Bare:
    """A stream without `isatty`."""

    def __init__(self) -> None:
        self.write = io.StringIO().write

    def flush(self) -> None:
        """Do nothing."""


def closed_stream() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("make_stream", [Bare, closed_stream])
async def test_track_on_unusable_stream_returns_the_result(
    server: FakeSchedules, session: SchedulesSession, make_stream: Callable[[], Any]
) -> None:
    console = Console(file=make_stream(), force_terminal=True)
    waiter = session.wait_for_operation(*script(server, 30))
    assert (await RichProgress(console=console).track(waiter)).is_succeeded


@pytest.mark.parametrize("stdout", [None, closed_stream()])
async def test_bars_without_stdout_are_drawn(
    server: FakeSchedules, session: SchedulesSession, stdout: io.StringIO | None
) -> None:
    """A closed stdout is no reason to draw nothing on another stream."""
    terminal = Terminal()
    console = Console(file=terminal, force_terminal=True, width=80)
    with redirect_stdout(stdout):
        await RichProgress(console=console).track(session.wait_for_operation(*script(server, 30)))
    assert "100 %" in terminal.getvalue()


def screen_of(terminal: io.StringIO) -> Screen:
    screen = Screen()
    screen.write(terminal.getvalue())
    return screen


async def test_track_on_a_terminal_leaves_the_last_frame(server: FakeSchedules, session: SchedulesSession) -> None:
    refs = [script(server, 30), script(server, end="Failed", failure_description="No room")]
    terminal = Terminal()
    console = Console(file=terminal, width=80, _environ={"TERM": "xterm", "NO_COLOR": "1"})
    names = dict(zip(refs, ("good", "bad"), strict=True))
    with pytest.raises(OperationGroupError):
        await RichProgress(names=names, session=session, console=console).track(session.wait_for_operations(refs))
    screen = screen_of(terminal)
    assert [line[:7].strip() for line in screen.shown] == ["✓ good", "✗ bad", "total", "3 reque"]
    assert screen.is_cursor_seen
    assert "\x1b[3" not in terminal.getvalue(), "NO_COLOR"


async def test_frame_is_a_single_write(session: SchedulesSession) -> None:
    terminal = Terminal()
    progress = RichProgress(session=session, console=Console(file=terminal, _environ={"TERM": "xterm"}))
    with progress.showing(session.wait_for_operations([("s", str(number)) for number in range(500)])):
        before = terminal.writes
        progress._redraw()
        progress._redraw()
        assert terminal.writes - before == 2


async def test_terminal_narrowed_erases_the_wrapped_lines(session: SchedulesSession) -> None:
    """Here six lines of 80 columns, each of which a terminal of 50 columns has wrapped into two."""
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


async def test_track_cancelled_restores_the_cursor(session: SchedulesSession) -> None:
    terminal = Terminal()
    progress = RichProgress(console=Console(file=terminal, _environ={"TERM": "xterm"}))
    tracking = asyncio.create_task(progress.track(session.wait_for_operation("s", "o")))
    await turns(3)
    assert not screen_of(terminal).is_cursor_seen
    tracking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await tracking
    assert screen_of(terminal).is_cursor_seen


async def test_track_without_terminal_prints_each_change(server: FakeSchedules, session: SchedulesSession) -> None:
    stream, ref = io.StringIO(), script(server, 30, 60)
    waiter = session.wait_for_operation(*ref)
    progress = RichProgress(names=lambda _: "import", console=Console(file=stream, width=20))
    assert (await progress.track(waiter)).is_succeeded
    first, second, last = stream.getvalue().splitlines()
    assert first == "import: Started, 30 %, Reading"
    assert second.startswith("import: Started, 60 %, Reading, ")
    assert second.endswith(" s left")
    assert last == "import: Succeeded"


class Failing(Terminal):
    """A terminal that raises an exception at its fourth write and, unless it recovers, at each later one."""

    def __init__(self, failure: Exception, *, recovers: bool = False) -> None:
        super().__init__()
        self.failure = failure
        self.recovers = recovers

    def write(self, text: str) -> int:
        written = super().write(text)
        if self.writes == 4 or (self.writes > 4 and not self.recovers):
            raise self.failure
        return written


@pytest.mark.parametrize("recovers", [False, True])
@pytest.mark.parametrize(
    "failure", [OSError(5, "Input/output error"), UnicodeEncodeError("ascii", "✓", 0, 1, "ordinal not in range")]
)
async def test_terminal_fails_wait_returns_its_result(
    server: FakeSchedules, session: SchedulesSession, failure: Exception, *, recovers: bool
) -> None:
    """The console is left without a live display and without text that is still to be written."""
    terminal = Failing(failure, recovers=recovers)
    console = Console(file=terminal, width=80, _environ={"TERM": "xterm", "NO_COLOR": "1"})
    progress = RichProgress(console=console)
    waiter = session.wait_for_operation(*script(server, 30))
    with progress.showing(waiter):
        await turns(2)
        for _ in range(4):
            with progress._closing_on_failure():
                progress._redraw()
        assert (await waiter).is_succeeded
    written = terminal.getvalue()
    assert written.endswith("\x1b[?25h")
    console.file = io.StringIO()
    console.print("next")
    assert console.file.getvalue() == "next\n"
    with RichProgress(console=Console(file=Terminal(), _environ={"TERM": "xterm"})).showing(waiter):
        await turns(2)


class Ascii(Terminal):
    """A terminal that claims an encoding which it does not have."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        text.encode("ascii")
        return super().write(text)


async def test_terminal_of_wrong_encoding_restores_the_cursor(server: FakeSchedules, session: SchedulesSession) -> None:
    terminal = Ascii()
    console = Console(file=terminal, width=80, _environ={"TERM": "xterm", "NO_COLOR": "1"})
    assert (await RichProgress(console=console).track(session.wait_for_operation(*script(server, 30)))).is_succeeded
    assert terminal.getvalue() == "\x1b[?25l\x1b[?25h"
    console.print("next")
    assert terminal.getvalue().endswith("next\n")


async def test_track_beside_another_display_returns_the_result(
    server: FakeSchedules, session: SchedulesSession
) -> None:
    """With bars, or with lines where rich has room for one display."""
    terminal = Terminal()
    console = Console(file=terminal, width=80, _environ={"TERM": "xterm", "NO_COLOR": "1"})
    with console.status("working"):
        operation = await RichProgress(console=console).track(session.wait_for_operation(*script(server, 30)))
    assert operation.is_succeeded
    assert "Succeeded" in terminal.getvalue()
    assert screen_of(terminal).is_cursor_seen


class OneDisplay(Console):
    """The console of a rich before 14.1, whose display is taken."""

    def set_live(self, _: Live) -> bool:
        raise LiveError("Only one live display may be active at once")


async def test_track_without_room_for_bars_prints_lines(server: FakeSchedules, session: SchedulesSession) -> None:
    terminal = Terminal()
    console = OneDisplay(file=terminal, width=80, _environ={"TERM": "xterm", "NO_COLOR": "1"})
    ref = script(server, 30)
    assert (await RichProgress(names={ref: "import"}, console=console).track(session.wait_for_operation(*ref))).is_done
    assert terminal.getvalue().splitlines() == ["import: Started, 30 %, Reading", "import: Succeeded"]


class ClosedPipe(Console):
    """A console that ends the process at a closed pipe, as rich does, but leaves the descriptor of stdout alone."""

    def on_broken_pipe(self) -> None:
        raise SystemExit(1)


async def test_lines_cannot_be_printed_wait_returns_its_result(
    server: FakeSchedules, session: SchedulesSession, caplog: pytest.LogCaptureFixture
) -> None:
    class Closed(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    progress = RichProgress(console=ClosedPipe(file=Closed()))
    assert (await progress.track(session.wait_for_operation(*script(server, 30, 60)))).is_succeeded
    assert [record.levelname for record in caplog.records if "progress" in record.message] == ["WARNING"]


async def test_lines_are_printed_in_the_files_encoding(server: FakeSchedules, session: SchedulesSession) -> None:
    stream, ref = io.TextIOWrapper(io.BytesIO(), encoding="latin-1"), script(server, end="Failed")
    progress = RichProgress(names={ref: "é漢"}, console=Console(file=stream))
    await progress.track(session.wait_for_operation(*ref, check=False))
    stream.seek(0)
    assert stream.read() == "é?: Failed: no reason given\n"
