"""The demo: six operations of different shapes on an embedded server, waited for over real HTTP."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from statistics import fmean
from typing import Literal

import click
from attrs import define, field, frozen
from rich.console import Console
from rich.table import Table
from rich.text import Text

from schedules_async import Operation, OperationRef, PollingPolicy, RateLimit, SchedulesSession
from schedules_async._waiters.waiter import OperationProgress
from schedules_async.progress.rich_bars import RichProgress, is_live
from schedules_async.progress.text import describe, explain, spell_traffic
from schedules_async.testing import FakeSchedules, throttled

_LIVELY = PollingPolicy(cost=0.02, min_interval=0.2, max_interval=0.6, max_predicted_interval=0.6)
_OWN_LIMIT = RateLimit(30, 1.0)
_BURST = (throttled(1.0, delay=0.6),) * 3  # slow to come, so that they meet requests that are under way together
_BURST_AT = 0.4  # of the show
_NAME_WIDTH = 13


def s_curve(fraction: float) -> float:
    """Start slowly, end slowly."""
    return 100 * fraction * fraction * (3 - 2 * fraction)


def stuck_at_99(fraction: float) -> float:
    """Be fast, then wait for the last percent."""
    return min(180 * fraction, 99.0)


def broken_off(fraction: float) -> float:
    """Come as far as 63 percent."""
    return 63 * fraction


@frozen
class Part:
    """One operation of the show; its times are shares of the show's length."""

    name: str
    duration: float
    progress: Literal["linear", "steps", "none"] | Callable[[float], float]
    phases: tuple[str, ...] = ()
    queued: float = 0.0
    fails_with: str | None = None


PROGRAMME = (
    Part("steady", 0.75, "linear", ("Reading tasks", "Copying tasks", "Copying links")),
    Part("in steps", 0.85, "steps", ("Baseline 1", "Baseline 2", "Baseline 3", "Baseline 4"), queued=0.1),
    Part("stuck at 99 %", 0.95, stuck_at_99, ("Importing", "Tidying up")),
    Part("silent", 0.6, "none", ("Calculating",), queued=0.2),
    Part("S-curve", 1.0, s_curve, ("Warming up", "Exporting", "Compressing")),
    Part("failing", 0.55, broken_off, ("Checking rules",), fails_with="Rule 7 needs a calendar"),
)


@define(eq=False)
class Member:
    """One operation of the show while it runs, and what is remembered of it."""

    name: str
    standing: OperationProgress
    changes: int = field(init=False, default=0)
    delay: float | None = field(init=False, default=None)

    @property
    def result(self) -> str:
        """How it ended, in words."""
        latest, outcome = self.standing.latest, self.standing.outcome
        if isinstance(outcome, Exception):
            return explain(outcome)
        return "not seen" if latest is None else describe(latest)

    def take(self, change: Operation) -> None:
        """Count a change; at the end, see how long ago that was (the server's clock is this machine's)."""
        self.changes += 1
        if change.is_done and change.updated_at is not None:
            self.delay = max((datetime.now(UTC) - change.updated_at).total_seconds(), 0.0)


Report = Callable[[Member, Operation], None]


@frozen
class Lines:
    """Reports each change as a line, with the seconds since the start."""

    _started: float = field(factory=lambda: asyncio.get_running_loop().time())

    def __call__(self, member: Member, change: Operation) -> None:
        """Write one line."""
        seconds = asyncio.get_running_loop().time() - self._started
        words = describe(change, member.standing.time_remaining)
        click.echo(f"{seconds:5.1f} s  {member.name:<{_NAME_WIDTH}}  {words}")


def _report_nothing(_: Member, __: Operation) -> None:
    """Leave it to the bars."""


async def play(seconds: float, console: Console) -> None:
    """Start the server and the six operations, wait for all of them at once, and sum up."""
    async with FakeSchedules() as server, open_session(server) as session:
        names = {start(server, part, seconds): part.name for part in PROGRAMME}
        asyncio.get_running_loop().call_later(_BURST_AT * seconds, server.interrupt, *_BURST)
        members = await wait_for_all(names, session, console)
        sum_up(members, server, session, console)


def open_session(server: FakeSchedules) -> SchedulesSession:
    """Make a session that polls fast enough to be watched."""
    return SchedulesSession(server.token, base_url=server.url, polling=_LIVELY, rate_limits=(_OWN_LIMIT,))


def start(server: FakeSchedules, part: Part, seconds: float, **ids: str) -> OperationRef:
    """Start one operation on the server."""
    return server.start_operation(
        part.duration * seconds,
        queued=part.queued * seconds,
        progress=part.progress,
        sub_status=part.phases,
        fails_with=part.fails_with,
        schedule_id=ids.get("schedule_id"),
        operation_id=ids.get("operation_id"),
    )


async def wait_for_all(names: dict[OperationRef, str], session: SchedulesSession, console: Console) -> list[Member]:
    """Wait for all at once, with bars on a terminal that can draw them, in lines elsewhere."""
    waiter = session.wait_for_operations(names, check=False)
    members = {member.ref: Member(names[member.ref], member) for member in waiter.members}
    can_draw = is_live(console)
    report = _report_nothing if can_draw else Lines()
    progress = RichProgress(names=names, session=session, console=console)
    with progress.showing(waiter) if can_draw else nullcontext():
        async for change in waiter:
            members[change.ref].take(change)
            report(members[change.ref], change)
    return list(members.values())


def sum_up(members: Sequence[Member], server: FakeSchedules, session: SchedulesSession, console: Console) -> None:
    """Print how each ended and what it cost."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("operation")
    table.add_column("result")
    for heading in ("polls", "changes", "end seen after"):
        table.add_column(heading, justify="right")
    for member in members:
        polls = len(server.requests_for(member.standing.ref))
        delay = "" if member.delay is None else f"{member.delay:.2f} s"
        table.add_row(Text(member.name), Text(member.result), str(polls), str(member.changes), delay)
    console.print()
    console.print(table)
    console.print()
    delays = [member.delay for member in members if member.delay is not None]
    mean = f"Ends were seen {fmean(delays):.2f} s after they happened, on average.\n" if delays else ""
    console.print(f"{spell_traffic(session.stats)}.\n{mean}That one operation fails is part of the show.")
