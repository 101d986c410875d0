import asyncio
import io
import re
import shlex
import socket
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from environment import environment
from rich.console import Console

from schedules_async import OperationRef, SchedulesSession
from schedules_async.cli.demo import (
    PROGRAMME,
    serve_operations,
    start,
    start_all,
    wait_command_line,
    wait_with_output,
)
from schedules_async.cli.reports import CommandError
from schedules_async.testing import FakeClock, FakeSchedules


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


async def output_of(*names: str) -> str:
    """Return what is printed of the first operation of the demo and of one that does not exist, in this order."""
    with redirect_stdout(io.StringIO()) as output:
        async with FakeSchedules() as server:
            refs = [start(server, PROGRAMME[0], 0.1), OperationRef("no", "such")]
            await wait_with_output(dict(zip(reversed(refs), names, strict=False)), server, Console(width=80))
    return output.getvalue()


async def test_lost_operation_leaves_others_unaffected() -> None:
    lines = (await output_of("lost", "good")).splitlines()
    assert [line.split()[1] for line in lines if line.startswith(("lost ", "good "))] == ["no/such:", "Succeeded"]
    assert sum(line.startswith("Mean detection delay: ") for line in lines) == 1


async def test_summary_without_ends_has_no_delay() -> None:
    output = await output_of("lost")
    assert "operation not found: 404" in output
    assert "Mean detection delay" not in output


class Terminal(io.StringIO):
    """A stream that passes for a terminal."""

    def isatty(self) -> bool:
        return True


async def test_demo_on_a_terminal_prints_no_lines() -> None:
    console = Console(file=Terminal(), width=80, _environ={"TERM": "xterm"})
    with redirect_stdout(io.StringIO()) as output:
        async with FakeSchedules() as server:
            await wait_with_output({start(server, PROGRAMME[0], 0.1): "steady"}, server, console)
    assert output.getvalue() == ""


class Full(io.StringIO):
    """A stream to a file on a full disk."""

    def write(self, _: str) -> int:
        raise OSError(28, "No space left on device")


async def test_unwritable_output_ends_the_demo() -> None:
    async with FakeSchedules() as server:
        names = {start(server, part, 1.0): part.name for part in PROGRAMME}
        with redirect_stdout(Full()), pytest.raises(OSError, match="No space left"):
            await asyncio.wait_for(wait_with_output(names, server, Console(width=80)), 20)


class Announcement(io.StringIO):
    """A stream that sets an event once the whole announcement is written."""

    def __init__(self) -> None:
        super().__init__()
        self.is_complete = asyncio.Event()

    def write(self, text: str) -> int:
        if "Ctrl-C" in text:
            self.is_complete.set()
        return super().write(text)


async def test_serve_prints_command_and_answers_until_interrupted() -> None:
    with redirect_stdout(Announcement()) as output:
        serving = asyncio.create_task(serve_operations(2, 60, None, "127.0.0.1", 0))
        await output.is_complete.wait()
        found = re.search(r"SCHEDULES_BASE_URL=(\S+) SCHEDULES_TOKEN=(\S+) .* wait (\S+) (\S+)\n", output.getvalue())
        assert found is not None
        async with SchedulesSession(found[2], base_url=found[1]) as session:
            operations = [await session.get_operation(found[number]) for number in (3, 4)]
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
    assert [str(operation.ref) for operation in operations] == ["play/1", "play/2"]


async def test_operations_end_within_the_given_time() -> None:
    async with FakeSchedules(clock=FakeClock()) as server, server.session(rate_limits=()) as session:
        waiter = session.wait_for_operations(start_all(server, 6, 10), check=False)
        await waiter
    times = [(one.updated_at, one.created_at) for one in waiter.latest.values()]
    assert len(times) == 6
    assert all(ended and began and (ended - began).total_seconds() <= 10 for ended, began in times)
    assert sum(one.is_failed for one in waiter.latest.values()) == 1


@pytest.mark.parametrize("is_on_path", [True, False])
async def test_command_line_uses_installed_program_and_stays_short(tmp_path: Path, *, is_on_path: bool) -> None:
    program = f"{shlex.quote(sys.executable)} -m schedules_async"
    if is_on_path:
        program = "schedules-async"
        (tmp_path / program).touch(0o755)
    async with FakeSchedules() as server:
        with environment(PATH=str(tmp_path)):
            command = wait_command_line(server, start_all(server, 500, 60))
        variables = f"SCHEDULES_BASE_URL={server.url} SCHEDULES_TOKEN={server.token}"
    assert command == f"seq -f play/%.0f 500 | {variables} {program} wait -"


@pytest.mark.parametrize(("host", "reached_at"), [("127.0.0.1", "127.0.0.1"), ("0", "127.0.0.1"), ("::", r"\[::1\]")])
async def test_command_line_names_an_address_of_this_machine(host: str, reached_at: str) -> None:
    """A server that listens on all addresses has none of its own."""
    async with FakeSchedules(host=host) as server:
        command = wait_command_line(server, start_all(server, 1, 60))
    assert re.match(rf"SCHEDULES_BASE_URL=http://{reached_at}:\d+ ", command)


@pytest.mark.parametrize(
    ("host", "sentence"),
    [
        ("127.0.0.1", r"^Port \d+ is already in use: choose another with --port, or omit it for any free port\.$"),
        ("192.0.2.1", r"^Cannot listen on 192\.0\.2\.1, port \d+: Cannot assign requested address\.$"),
        ("no..such", r"^Cannot listen on no\.\.such, port \d+: not the name of a host\.$"),
        ("no.such.invalid", r"^Cannot listen on no\.such\.invalid, port \d+: .*\w\.$"),
    ],
)
async def test_unusable_address_is_one_sentence(host: str, sentence: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CommandError, match=sentence) as raised:
            await serve_operations(1, 60, None, host, port)
    assert raised.value.exit_code == 4
