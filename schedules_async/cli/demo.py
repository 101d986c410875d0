"""The commands `demo` and `serve`: operations with different progress on an embedded server, over real HTTP."""

import asyncio
import errno
import os
import shlex
import shutil
import socket
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from ipaddress import ip_address
from itertools import cycle, islice
from statistics import fmean
from typing import Any, Literal

import click
from attrs import asdict, field, frozen
from attrs.filters import exclude
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text
from yarl import URL

from schedules_async import Operation, OperationRef, PollingPolicy, RateLimit, TimeRemaining
from schedules_async._auth.variables import BASE_URL, TOKEN
from schedules_async.cli.client import follow
from schedules_async.cli.reports import NAME, CommandError, Lines, Names
from schedules_async.progress.rich_bars import is_live
from schedules_async.progress.text import describe_error, describe_operation, format_stats
from schedules_async.testing import FakeSchedules, throttled

_POLLING = PollingPolicy(cost=0.02, min_interval=0.2, max_interval=0.6, max_predicted_interval=0.6)
_RATE_LIMIT = RateLimit(30, 1.0)
_BURST = (throttled(1.0, delay=0.6),) * 3  # delayed, so that several requests in flight are throttled
_BURST_AT = 0.4  # of the duration
_NAME_WIDTH = 13
_SCHEDULE = "play"
_MAX_LISTED = 8


@frozen
class DemoOperation:
    """What `FakeSchedules.start_operation` takes for an operation of the demo; times are fractions of its duration."""

    name: str
    duration: float
    progress: Literal["linear", "steps", "none"] | Callable[[float], float]
    sub_status: tuple[str, ...] = ()
    queued: float = 0.0
    fails_with: str | None = None


PROGRAMME = (
    DemoOperation("steady", 0.75, "linear", ("Reading tasks", "Copying tasks", "Copying links")),
    DemoOperation("in steps", 0.85, "steps", ("Baseline 1", "Baseline 2", "Baseline 3", "Baseline 4"), queued=0.1),
    DemoOperation("stuck at 99 %", 0.95, lambda x: min(180 * x, 99.0), ("Importing", "Tidying up")),
    DemoOperation("silent", 0.6, "none", ("Calculating",), queued=0.2),
    DemoOperation("S-curve", 1.0, lambda x: 100 * x**2 * (3 - 2 * x), ("Warming up", "Exporting", "Compressing")),
    DemoOperation("failing", 0.55, lambda x: 63 * x, ("Checking rules",), fails_with="Rule 7 needs a calendar"),
)


@frozen
class DemoReport(Lines):
    """Prints lines with the time unless quiet; counts the changes and measures detection delays."""

    changes: Counter[OperationRef] = field(factory=Counter)
    delays: dict[OperationRef, float] = field(factory=dict)
    _started: float = field(factory=lambda: asyncio.get_running_loop().time())

    def on_change(self, operation: Operation, remaining: TimeRemaining | None = None) -> None:
        """Count the change; at the end, measure the detection delay (the server uses the clock of this machine)."""
        self.changes[operation.ref] += 1
        if operation.is_done and operation.updated_at is not None:
            self.delays[operation.ref] = max((datetime.now(UTC) - operation.updated_at).total_seconds(), 0.0)
        if not self.is_quiet:
            seconds, name = asyncio.get_running_loop().time() - self._started, self.names[operation.ref]
            click.echo(f"{seconds:5.1f} s  {name:<{_NAME_WIDTH}}  {describe_operation(operation, remaining)}")


async def run_demo(seconds: float, console: Console) -> None:
    """Run the server and the six operations, wait for all at once, and print a summary."""
    async with FakeSchedules() as server:
        names = {start(server, part, seconds): part.name for part in PROGRAMME}
        asyncio.get_running_loop().call_later(_BURST_AT * seconds, server.interrupt, *_BURST)
        await wait_with_output(names, server, console)


def start(server: FakeSchedules, part: DemoOperation, seconds: float, **ids: str) -> OperationRef:
    """Start one operation on the server, by default with ids that the server chooses."""
    options: dict[str, Any] = asdict(part, filter=exclude("name"))
    options |= {"duration": part.duration * seconds, "queued": part.queued * seconds, **ids}
    return server.start_operation(**options)


async def wait_with_output(names: Names, server: FakeSchedules, console: Console) -> None:
    """Wait for all at once, with bars where the terminal can draw them, elsewhere with lines; print a summary."""
    report = DemoReport(names, is_quiet=is_live(console))
    counts = (Column(heading, justify="right") for heading in ("polls", "changes", "detection delay"))
    table = Table("operation", "result", *counts, box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    async with server.session(polling=_POLLING, rate_limits=(_RATE_LIMIT,), hooks=(report.on_event,)) as session:
        waiter = session.wait_for_operations(names, check=False)
        await follow(waiter, session, report, console if report.is_quiet else None)
        for ref, outcome in zip(names, await waiter, strict=True):
            result = describe_operation(outcome) if isinstance(outcome, Operation) else describe_error(outcome)
            delay = f"{report.delays[ref]:.2f} s" if ref in report.delays else ""
            polls, changes = len(server.requests_for(ref)), report.changes[ref]
            table.add_row(Text(names[ref]), Text(result), str(polls), str(changes), delay)
        console.print("", table, "", f"{format_stats(session.stats)}.", sep="\n")
    if report.delays:
        console.print(f"Mean detection delay: {fmean(report.delays.values()):.2f} s.")
    console.print("One operation fails on purpose.")


async def serve_operations(operations: int, seconds: float, quota: int | None, host: str, port: int) -> None:
    """Serve operations of all kinds until interrupted; print the command that waits for them."""
    async with AsyncExitStack() as stack:
        try:
            server = await stack.enter_async_context(FakeSchedules(quota=quota, host=host, port=port))
        except UnicodeError as error:  # IDNA cannot encode it
            raise CommandError(f"Cannot listen on {host}, port {port}: not the name of a host.") from error
        except OSError as error:
            # From Python 3.13 on, asyncio raises an OSError without a number if no address could be assigned.
            reason = None if isinstance(error, socket.gaierror) else os.strerror(error.errno or errno.EADDRNOTAVAIL)
            sentence = f"Cannot listen on {host}, port {port}: {reason or error.strerror}."
            if error.errno == errno.EADDRINUSE:
                sentence = f"Port {port} is already in use: choose another with --port, or omit it for any free port."
            raise CommandError(sentence) from error
        refs = start_all(server, operations, seconds)
        click.echo(f"{operations} operations on {server.url}, all end within {seconds:g} s. In another terminal, run:")
        click.echo(f"\n  {wait_command_line(server, refs)}\n\nPress Ctrl-C to stop the service.")
        await asyncio.Event().wait()


def start_all(server: FakeSchedules, count: int, seconds: float) -> list[OperationRef]:
    """Start operations like those of the demo; later ones take longer."""
    return [
        start(server, part, seconds * (1 + number / count) / 2, schedule_id=_SCHEDULE, operation_id=str(number))
        for number, part in enumerate(islice(cycle(PROGRAMME), count), 1)
    ]


def wait_command_line(server: FakeSchedules, refs: Sequence[OperationRef]) -> str:
    """Return the shell command that waits for the operations on this machine, even if the server is for all."""
    url = URL(server.url)
    host = ip_address(url.host or "")
    if host.is_unspecified:
        url = url.with_host("127.0.0.1" if host.version == 4 else "::1")
    program = NAME if shutil.which(NAME) else f"{shlex.quote(sys.executable)} -m schedules_async"
    command = f"{BASE_URL}={url} {TOKEN}={server.token} {program} wait"
    if len(refs) > _MAX_LISTED:
        return f"seq -f {_SCHEDULE}/%.0f {len(refs)} | {command} -"
    return f"{command} {' '.join(map(str, refs))}"
