import io
from contextlib import redirect_stderr
from typing import Any

import pytest
from chromium import load
from environment import environment
from screen import Screen
from tqdm.notebook import tqdm as notebook_tqdm
from tqdm.std import tqdm

from schedules_async import OperationGroupError, OperationRef, SchedulesSession
from schedules_async.progress import TqdmProgress
from schedules_async.testing import FakeSchedules, operation_answer

SUCCEEDED = operation_answer("Succeeded")


class Terminal(io.TextIOWrapper):
    """A stream that passes for a terminal with a given encoding."""

    def __init__(self, encoding: str) -> None:
        super().__init__(io.BytesIO(), encoding, newline="\n")

    def isatty(self) -> bool:
        return True

    def getvalue(self) -> str:
        self.seek(0)
        return self.read()

    def shown(self) -> list[str]:
        screen = Screen()
        screen.write(self.getvalue())
        return screen.shown


def script(server: FakeSchedules, name: str, *, fails: bool = False) -> OperationRef:
    end = operation_answer("Failed", percent_complete=60, failure_description="No room") if fails else SUCCEEDED
    running = [operation_answer("Started", percent_complete=percent, sub_status="Reading") for percent in (25, 50)]
    return server.script_operation(*running, end, schedule_id="s", operation_id=name)


async def test_track_draws_bars_total_and_footer(server: FakeSchedules, session: SchedulesSession) -> None:
    refs = [script(server, "good"), script(server, "bad", fails=True)]
    with redirect_stderr(Terminal("utf-8")) as terminal, pytest.raises(OperationGroupError):
        await TqdmProgress(session=session).track(session.wait_for_operations(refs))
    assert terminal.shown() == [
        "✓ good  ███████████████ 100 % Succeeded",
        "✗ bad   █████████        60 % No room",
        "  total ███████████████ 100 % 2 of 2 ended, 1 failed",
        "6 requests, 0 saved by 304",
    ]


async def test_bar_shows_sub_status_and_time_left(server: FakeSchedules, session: SchedulesSession) -> None:
    with redirect_stderr(Terminal("utf-8")) as terminal:
        progress = TqdmProgress()
        waiter = session.wait_for_operation(*script(server, "import"))
        with progress.showing(waiter):
            async for _ in waiter:
                progress._redraw()
    assert "  import ███████▌         50 % Reading, " in terminal.getvalue()
    assert " s left" in terminal.getvalue()


async def test_bars_without_unicode_are_ascii(server: FakeSchedules, session: SchedulesSession) -> None:
    with redirect_stderr(Terminal("ascii")) as terminal:
        await TqdmProgress(names={}).track(session.wait_for_operation(*script(server, "good")))
    assert terminal.shown() == ["ok good  ############### 100 % Succeeded"]


async def test_track_many_shows_few_then_the_lost(server: FakeSchedules, session: SchedulesSession) -> None:
    refs = [script(server, str(number), fails=number == 7) for number in range(100)]
    progress = TqdmProgress()
    with redirect_stderr(Terminal("utf-8")) as terminal:
        waiter = session.wait_for_operations(refs, check=False)
        with progress.showing(waiter):
            progress._redraw()
            many = terminal.shown()
            await waiter
    assert many[-2:] == ["  and 85 more", "  total                   0 % 0 of 100 ended"]
    assert terminal.shown() == [
        "✗ 7     █████████        60 % No room",
        "  and 99 more",
        "  total ███████████████ 100 % 100 of 100 ended, 1 failed",
    ]
    assert "hidden" not in terminal.getvalue()


async def test_own_bars_of_the_caller_stay_in_place(server: FakeSchedules, session: SchedulesSession) -> None:
    """The bars of a wait are below them while it runs, and above them once it has ended."""
    names = ["first", "second"]
    with redirect_stderr(Terminal("utf-8")) as terminal:
        outer = tqdm(names, desc="own bar", file=terminal, ncols=70, bar_format="{desc} {n}/{total} {bar}")
        for name in outer:
            refs = [script(server, name), script(server, f"{name} too")]
            progress, waiter = TqdmProgress(), session.wait_for_operations(refs)
            with progress.showing(waiter):
                progress._redraw()
                running = terminal.shown()[-4:]
                await waiter
            assert [line.split()[0] for line in running] == ["own", name, name, "total"]
    assert [" ".join(line.replace("█", "").split()) for line in terminal.shown()] == [
        "✓ first 100 % Succeeded",
        "✓ first too 100 % Succeeded",
        "total 100 % 2 of 2 ended",
        "✓ second 100 % Succeeded",
        "✓ second too 100 % Succeeded",
        "total 100 % 2 of 2 ended",
        "own bar 2/2",
    ]


GUIDS = [f"{number:08x}-d132-5e23-8f94-906426f8ec{number:02x}" for number in (201, 202, 203)]


@pytest.mark.parametrize("columns", [20, 30, 39, 40, 50, 80, 120])
async def test_count_of_ended_operations_is_never_cut(session: SchedulesSession, columns: int) -> None:
    """Nor is any line longer than the terminal is wide; GUIDs as names leave room for the states."""
    waiter = session.wait_for_operations([("s", guid) for guid in GUIDS])
    with environment(COLUMNS=str(columns)), redirect_stderr(Terminal("utf-8")) as terminal:
        progress = TqdmProgress(session=session)
        with progress.showing(waiter):
            progress._redraw()
            *bars, total, _ = terminal.shown()
    assert "0 of 3 ended" in total
    assert max(map(len, (*bars, total))) < columns
    assert len({line.split()[0] for line in bars}) == 3
    assert columns < 50 or all(line.endswith("0 % no answer yet") for line in bars)


async def test_text_of_another_encoding_is_ascii(server: FakeSchedules, session: SchedulesSession) -> None:
    ref = script(server, "import", fails=True)
    with redirect_stderr(Terminal("latin-1")) as terminal:
        progress = TqdmProgress(names={ref: "é, 漢 and a name that is far too long"})
        await progress.track(session.wait_for_operation(*ref, check=False))
    assert terminal.shown() == ["x  é, ? a...o long #########        60 % No room"]


def fail(*_: Any, **__: Any) -> bool:
    raise OSError(5, "Input/output error")


async def test_bar_fails_wait_returns_its_result(server: FakeSchedules, session: SchedulesSession) -> None:
    """The bars are closed, so that they take no line from those of the caller."""
    broken = type("Broken", (tqdm,), {"refresh": fail})
    with redirect_stderr(Terminal("utf-8")) as terminal:
        ref = script(server, "import")
        assert (await TqdmProgress(bar=broken).track(session.wait_for_operation(*ref))).is_succeeded
        with tqdm(total=1, file=terminal) as bar:
            assert bar.pos == 0


async def test_track_without_terminal_writes_nothing(server: FakeSchedules, session: SchedulesSession) -> None:
    with redirect_stderr(io.StringIO()) as stream:
        assert (await TqdmProgress().track(session.wait_for_operation(*script(server, "good")))).is_succeeded
    assert stream.getvalue() == ""


async def test_bars_in_a_notebook_are_widgets(server: FakeSchedules, session: SchedulesSession) -> None:
    load("ipywidgets")
    refs = [script(server, "good"), script(server, "bad", fails=True)]
    progress = TqdmProgress(bar=notebook_tqdm)
    await progress.track(session.wait_for_operations(refs, check=False))
    widgets: list[Any] = list(progress._bars)
    parts = [[child.value for child in widget.container.children] for widget in widgets]
    assert [(left.replace("\u2007", " "), value) for left, value, _ in parts] == [
        ("✓ good  ", 1.0),
        ("✗ bad   ", 0.6),
        ("  total ", 1.0),
    ]
    assert parts[1][2].replace("\u2007", " ") == "  60 % No room"
