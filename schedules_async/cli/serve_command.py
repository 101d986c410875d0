"""The command `serve`: a fake service for experiments."""

import asyncio
import errno
import os
import shlex
import shutil
import socket
import sys
from collections.abc import Sequence
from ipaddress import ip_address
from itertools import cycle, islice

import click
from yarl import URL

from schedules_async import OperationRef
from schedules_async._auth.variables import BASE_URL, TOKEN
from schedules_async.cli.demo import PROGRAMME, start
from schedules_async.cli.exit_codes import SERVICE_ERROR, CommandError
from schedules_async.testing import FakeSchedules

_NAME = "schedules-async"
_SCHEDULE = "play"
_MAX_LISTED = 8


async def serve_operations(operations: int, seconds: float, quota: int | None, host: str, port: int) -> None:
    """Serve operations of all kinds until interrupted; print the command that waits for them."""
    server = FakeSchedules(quota=quota, host=host, port=port)
    try:
        await server.start()
    except OSError as error:
        raise CommandError(_describe(error, host, port), exit_code=SERVICE_ERROR) from error
    try:
        refs = start_all(server, operations, seconds)
        click.echo(f"{operations} operations on {server.url}, all end within {seconds:g} s. In another terminal, run:")
        click.echo(f"\n  {wait_command_line(server, refs)}\n\nPress Ctrl-C to stop the service.")
        await asyncio.Event().wait()
    finally:
        await server.close()


def _describe(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} is already in use: choose another with --port, or omit it for any free port."
    # From Python 3.13 on, asyncio raises an OSError without a number if no address could be assigned.
    reason = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or errno.EADDRNOTAVAIL)
    return f"Cannot listen on {host}, port {port}: {reason}."


def start_all(server: FakeSchedules, count: int, seconds: float) -> list[OperationRef]:
    """Start operations like those of the demo; later ones take longer."""
    return [
        start(server, part, seconds * (1 + number / count) / 2, OperationRef(_SCHEDULE, str(number)))
        for number, part in enumerate(islice(cycle(PROGRAMME), count), 1)
    ]


def wait_command_line(server: FakeSchedules, refs: Sequence[OperationRef], path: str | None = None) -> str:
    """Return the shell command that waits for the operations; `path` is where the program is looked up."""
    program = _NAME if shutil.which(_NAME, path=path) else f"{shlex.quote(sys.executable)} -m schedules_async"
    command = f"{BASE_URL}={_reachable(server.url)} {TOKEN}={server.token} {program} wait"
    if len(refs) > _MAX_LISTED:
        return f"seq -f {_SCHEDULE}/%.0f {len(refs)} | {command} -"
    return f"{command} {' '.join(map(str, refs))}"


def _reachable(url: str) -> str:
    """Return the URL at which this machine reaches a server, even one that listens on all addresses."""
    host = ip_address(URL(url).host or "")
    return str(URL(url).with_host("127.0.0.1" if host.version == 4 else "::1")) if host.is_unspecified else url
