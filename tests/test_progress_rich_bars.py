import asyncio
import io
import os
import select
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from rich.console import Console

from schedules_async import OperationWaiter, SchedulesSession
from schedules_async.cli.bars import Bars, Traffic, is_live, live
from schedules_async.testing import FakeSchedules, operation_answer, throttled

MakeSession = Callable[..., SchedulesSession]


def draw(bars: Bars, width: int = 80, encoding: str = "utf-8") -> list[str]:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    Console(file=stream, width=width).print(bars)
    stream.seek(0)
    return stream.read().splitlines()


def no_footer() -> str:
    return ""


async def to_the_end(waiter: OperationWaiter) -> list[float]:
    return [operation.percent_complete async for operation in waiter]


def script(server: FakeSchedules, *percents: float, end: str = "Succeeded", **facts: Any) -> tuple[str, str]:
    answers = [operation_answer("Started", percent=percent, sub_status="Reading") for percent in percents]
    ref = server.script_operation(*answers, operation_answer(end, **facts))
    return ref.schedule_id, ref.operation_id


async def test_a_bar_shows_where_its_operation_stands(server: FakeSchedules, session: SchedulesSession) -> None:
    waiter = session.wait_for_operation(*script(server, 25, 50))
    bars = Bars(lambda: "the footer")
    bars.add("import", waiter)
    assert "not seen yet" in draw(bars)[0]
    async for operation in waiter:
        if operation.percent_complete == 50:
            line, footer = draw(bars)
            assert line.startswith("  import ")
            assert " 50 % Reading " in line
            assert line.endswith(" s left")
            assert footer.strip() == "the footer"
    assert draw(bars)[0].startswith("✓ import ")
    assert "100 % Succeeded" in draw(bars)[0]


async def test_a_failed_operation_shows_its_reason_and_how_far_it_came(
    server: FakeSchedules, make_session: MakeSession
) -> None:
    waiter = make_session().wait_for_operation(
        *script(server, 40, end="Failed", percent=60, failure="No\x1b room"), check=False
    )
    bars = Bars(no_footer)
    bars.add("import", waiter)
    await to_the_end(waiter)
    line = draw(bars)[0]
    assert line.startswith("✗ import ")
    assert line.rstrip().endswith("60 % No room")


async def test_a_bar_never_runs_backwards(server: FakeSchedules, session: SchedulesSession) -> None:
    waiter = session.wait_for_operation(*script(server, 50, 20, 60))
    bar = Bars(no_footer).add("import", waiter)
    drawn = [bar.fraction async for _ in waiter]
    assert drawn == [0.5, 0.5, 0.6, 1.0]


async def test_a_lost_wait_says_why(session: SchedulesSession) -> None:
    bars = Bars(no_footer)
    bars.add("import", session.wait_for_operation("s", "o")).lost = "the network is gone"
    assert draw(bars)[0].rstrip().endswith("0 % the network is gone")


@pytest.mark.parametrize("width", [30, 50, 80, 200])
async def test_every_bar_is_one_line_of_any_terminal(
    server: FakeSchedules, session: SchedulesSession, width: int
) -> None:
    bars = Bars(lambda: "a footer that is far longer than many a terminal is wide, and goes on")
    for name in ("a long name that does not fit " * 3, "short", "漢字" * 30):
        waiter = session.wait_for_operation(*script(server, 50))
        bars.add(name, waiter)
        await to_the_end(waiter)
    lines = draw(bars, width)
    assert len(lines) == 4
    assert all(len(line) <= width for line in lines)


async def test_a_terminal_without_unicode_gets_plain_marks(server: FakeSchedules, session: SchedulesSession) -> None:
    waiter = session.wait_for_operation(*script(server, 50))
    bars = Bars(no_footer)
    bars.add("import", waiter)
    await waiter
    assert draw(bars, encoding="ascii")[0].startswith("ok import")


async def test_the_footer_tells_when_a_429_keeps_everybody_waiting(
    server: FakeSchedules, session: SchedulesSession
) -> None:
    ref = server.script_operation(throttled(5.0), operation_answer("Started"), operation_answer("Succeeded"))
    traffic, told = Traffic(session), set()
    waiting = asyncio.create_task(to_the_end(session.wait_for_operation(*ref)))
    while not waiting.done():
        told.add(traffic())
        await asyncio.sleep(0)
    assert "1 request, 0 saved by 304, 1 refused (429); waiting, as a 429 asked" in told
    assert traffic() == "3 requests, 0 saved by 304, 1 refused (429)"


@pytest.fixture
def terminal() -> Iterator[tuple[io.TextIOWrapper, int]]:
    """Give a terminal to write to, and the descriptor on which one sees what it shows."""
    seen_by, written_to = os.openpty()
    with ExitStack() as stack:
        stack.callback(os.close, seen_by)
        yield stack.enter_context(io.TextIOWrapper(io.FileIO(written_to, "w"), "utf-8")), seen_by


@pytest.mark.parametrize(
    ("environment", "is_wanted"), [({"TERM": "xterm"}, True), ({"TERM": "dumb"}, False), ({"NO_COLOR": "1"}, False)]
)
def test_bars_are_drawn_where_they_are_wanted(
    terminal: tuple[io.TextIOWrapper, int], environment: dict[str, str], is_wanted: bool
) -> None:
    assert is_live(Console(file=terminal[0], _environ=environment)) is is_wanted


def test_no_bars_go_to_a_file_even_with_forced_colours() -> None:
    assert not is_live(Console(file=io.StringIO(), _environ={"FORCE_COLOR": "1", "TERM": "xterm"}))


def read_until(end: str, terminal: int) -> str:
    """Read what a terminal was sent, which comes in pieces; without the end, all that came within five seconds."""
    shown = ""
    while end not in shown and select.select([terminal], [], [], 5)[0]:
        shown += os.read(terminal, 65536).decode()
    return shown


async def test_the_cursor_comes_back_when_the_block_is_cancelled(
    terminal: tuple[io.TextIOWrapper, int], session: SchedulesSession
) -> None:
    bars = Bars(lambda: "the footer")
    bars.add("import", session.wait_for_operation("s", "o"))
    console = Console(file=terminal[0], _environ={"TERM": "xterm"})

    async def draw_for_ever() -> None:
        async with live(bars, console):
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(draw_for_ever(), 0.25)
    shown = read_until("\x1b[?25h", terminal[1])
    assert "the footer" in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
