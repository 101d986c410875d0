"""The command `serve`: a fake service for experiments."""

import asyncio
import shlex
import shutil
import sys
from collections.abc import Sequence
from itertools import cycle, islice

import click

from schedules_async import OperationRef
from schedules_async.cli.arguments import BASE_URL, TOKEN
from schedules_async.cli.demo import PROGRAMME, start
from schedules_async.testing import FakeSchedules

_NAME = "schedules-async"
_SCHEDULE = "play"
_MAX_LISTED = 8


async def serve_operations(operations: int, seconds: float, quota: int | None, port: int) -> None:
    """Serve operations of all kinds until interrupted; print the command that waits for them."""
    async with FakeSchedules(quota=quota, port=port) as server:
        refs = start_all(server, operations, seconds)
        click.echo(f"{operations} operations on {server.url}, all ended in {seconds:g} s. In another terminal, run:")
        click.echo(f"\n  {wait_command_line(server, refs)}\n\nPress Ctrl-C to stop the service.")
        await asyncio.Event().wait()


def start_all(server: FakeSchedules, count: int, seconds: float) -> list[OperationRef]:
    """Start operations like those of the demo; later ones take longer."""
    return [
        start(server, part, seconds * (1 + number / count) / 2, schedule_id=_SCHEDULE, operation_id=str(number))
        for number, part in enumerate(islice(cycle(PROGRAMME), count), 1)
    ]


def wait_command_line(server: FakeSchedules, refs: Sequence[OperationRef], path: str | None = None) -> str:
    """Return the shell command that waits for the operations; `path` is where the program is looked up."""
    program = _NAME if shutil.which(_NAME, path=path) else f"{shlex.quote(sys.executable)} -m schedules_async"
    command = f"{BASE_URL}={server.url} {TOKEN}={server.token} {program} wait"
    if len(refs) > _MAX_LISTED:
        return f"seq -f {_SCHEDULE}/%.0f {len(refs)} | {command} -"
    return f"{command} {' '.join(map(str, refs))}"
