import asyncio
import io
from contextlib import redirect_stdout

import pytest
from rich.console import Console

from schedules_async import OperationRef
from schedules_async.cli.demo import (
    PROGRAMME,
    Member,
    open_session,
    start,
    summarize,
    wait_with_output,
)
from schedules_async.testing import FakeSchedules


@pytest.mark.parametrize(
    ("name", "at_start", "in_the_middle", "at_end"),
    [("S-curve", 0.0, 50.0, 100.0), ("stuck at 99 %", 0.0, 90.0, 99.0), ("failing", 0.0, 31.5, 63.0)],
)
def test_progress_functions_have_shapes(name: str, at_start: float, in_the_middle: float, at_end: float) -> None:
    (shape,) = (part.progress for part in PROGRAMME if part.name == name)
    assert callable(shape)
    assert [shape(fraction) for fraction in (0.0, 0.5, 1.0)] == [at_start, in_the_middle, at_end]


def test_operations_end_within_the_demo() -> None:
    assert all(part.queued + part.duration <= 1.0 for part in PROGRAMME)
    assert len(PROGRAMME) == 6
    assert sum(part.fails_with is not None for part in PROGRAMME) == 1


async def test_lost_operation_leaves_others_unaffected() -> None:
    output = io.StringIO()
    with redirect_stdout(output):
        console = Console(width=80)
        async with FakeSchedules() as server, open_session(server) as session:
            names = {start(server, PROGRAMME[0], 0.1): "good", OperationRef("no", "such"): "lost"}
            members = await wait_with_output(names, session, console)
            summarize(members, server, session, console)
    assert members[0].result == "Succeeded"
    assert members[1].result.startswith("no/such: operation not found: 404")
    assert "Mean detection delay" not in output.getvalue() or members[0].delay is not None


async def test_summary_without_ends_has_no_delay() -> None:
    output = io.StringIO()
    async with FakeSchedules() as server, open_session(server) as session:
        (progress,) = session.wait_for_operation("s", "o").members
        summarize([Member("idle", progress)], server, session, Console(file=output, width=80))
    assert "idle" in output.getvalue()
    assert "Mean detection delay" not in output.getvalue()


class Terminal(io.StringIO):
    """A stream that passes for a terminal."""

    def isatty(self) -> bool:
        return True


async def test_demo_on_a_terminal_prints_no_lines() -> None:
    console = Console(file=Terminal(), width=80, _environ={"TERM": "xterm"})
    with redirect_stdout(io.StringIO()) as output:
        async with FakeSchedules() as server, open_session(server) as session:
            await wait_with_output({start(server, PROGRAMME[0], 0.1): "steady"}, session, console)
    assert output.getvalue() == ""


class Full(io.StringIO):
    """A stream to a file on a full disk."""

    def write(self, _: str) -> int:
        raise OSError(28, "No space left on device")


async def test_unwritable_output_ends_the_demo() -> None:
    async with FakeSchedules() as server, open_session(server) as session:
        names = {start(server, part, 1.0): part.name for part in PROGRAMME}
        with redirect_stdout(Full()), pytest.raises(OSError, match="No space left"):
            await asyncio.wait_for(wait_with_output(names, session, Console(width=80)), 20)
