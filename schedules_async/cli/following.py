"""Looking at one operation of a real service, and waiting for it."""

from collections.abc import Callable
from contextlib import nullcontext

from attrs import field, frozen
from rich.console import Console

from schedules_async import Operation, OperationRef, SchedulesSession, TimeRemaining
from schedules_async.cli.bars import Bars, Traffic, live

Report = Callable[[Operation, TimeRemaining | None], None]


@frozen
class Service:
    """Where to ask, and with which token."""

    token: str = field(repr=False)
    base_url: str

    def open(self) -> SchedulesSession:
        """Make a session; ValueError names an argument that cannot be used."""
        return SchedulesSession(self.token, base_url=self.base_url)


@frozen
class Limits:
    """How long to wait, in seconds; None for ever."""

    timeout: float | None = None
    stall_timeout: float | None = None


async def look(service: Service, ref: OperationRef) -> Operation:
    """Look at an operation once."""
    async with service.open() as session:
        return await session.get_operation(*ref)


async def follow(
    service: Service, ref: OperationRef, limits: Limits, report: Report, console: Console | None = None
) -> None:
    """Wait for an operation and report each change; with a console that is a terminal, draw its bar there."""
    async with service.open() as session:
        waiter = session.wait_for_operation(*ref, timeout=limits.timeout, stall_timeout=limits.stall_timeout)
        bars = Bars(Traffic(session))
        bars.add(ref.operation_id, waiter)
        async with nullcontext() if console is None else live(bars, console):
            async for operation in waiter:
                report(operation, waiter.time_remaining)
