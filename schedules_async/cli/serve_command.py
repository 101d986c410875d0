"""A fake service for manual play, and the command that waits for its operations."""

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
_MOST_NAMED = 8


async def play_service(operations: int, seconds: float, quota: int | None, port: int) -> None:
    """Run operations of all kinds, say how to wait for them, and answer until interrupted."""
    async with FakeSchedules(quota=quota, port=port) as server:
        refs = start_all(server, operations, seconds)
        click.echo(f"{operations} operations on {server.url}, all ended in {seconds:g} s. In a second terminal:")
        click.echo(f"\n  {spell_command(server, refs)}\n\nCtrl-C ends the service.")
        await asyncio.Event().wait()


def start_all(server: FakeSchedules, count: int, seconds: float) -> list[OperationRef]:
    """Start operations of the demo's kinds; the later ones take longer."""
    return [
        start(server, part, seconds * (1 + number / count) / 2, schedule_id=_SCHEDULE, operation_id=str(number))
        for number, part in enumerate(islice(cycle(PROGRAMME), count), 1)
    ]


def spell_command(server: FakeSchedules, refs: Sequence[OperationRef], path: str | None = None) -> str:
    """Write the command line for a shell in a second terminal, where programs are found on the `path`."""
    program = _NAME if shutil.which(_NAME, path=path) else f"{shlex.quote(sys.executable)} -m schedules_async"
    command = f"{BASE_URL}={server.url} {TOKEN}={server.token} {program} wait"
    if len(refs) > _MOST_NAMED:
        return f"seq -f {_SCHEDULE}/%.0f {len(refs)} | {command} -"
    return f"{command} {' '.join(map(str, refs))}"
