import asyncio
import io
import re
import shlex
import socket
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from schedules_async import SchedulesSession
from schedules_async.cli.exit_codes import CommandError
from schedules_async.cli.serve_command import serve_operations, start_all, wait_command_line
from schedules_async.testing import FakeClock, FakeSchedules


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
        command = wait_command_line(server, start_all(server, 500, 60), str(tmp_path))
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
        ("no.such.invalid", r"^Cannot listen on no\.such\.invalid, port \d+: .*\w\.$"),
    ],
)
async def test_unusable_address_is_one_sentence(host: str, sentence: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CommandError, match=sentence) as raised:
            await serve_operations(1, 60, None, host, port)
    assert raised.value.exit_code == 4
