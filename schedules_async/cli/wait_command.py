"""Looking at one operation of a real service, and waiting for many."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from attrs import frozen
from rich.console import Console

from schedules_async import Operation, OperationRef, SchedulesSession, TimeRemaining
from schedules_async._waiters.checkpoint import Checkpoint, write_checkpoint
from schedules_async._waiters.waiter import OperationProgress
from schedules_async.cli.arguments import Identity
from schedules_async.cli.checkpoint_option import saved
from schedules_async.errors import OperationFailedError
from schedules_async.progress.rich_bars import RichProgress

Report = Callable[[Operation, TimeRemaining | None], None]


@frozen
class Service:
    """Where to ask, and as whom."""

    identity: Identity
    base_url: str

    def open(self) -> SchedulesSession:
        """Make a session; ValueError names an argument that cannot be used."""
        return SchedulesSession(self.identity.auth, base_url=self.base_url)


@frozen
class Audience:
    """Who hears of a wait: `report` takes each change, a console that can draw has bars, a file the checkpoint."""

    report: Report
    console: Console | None = None
    file: Path | None = None


async def look(service: Service, ref: OperationRef) -> Operation:
    """Look at an operation once."""
    async with service.open() as session:
        return await session.get_operation(*ref)


async def follow(service: Service, plan: Checkpoint, audience: Audience) -> list[Exception]:
    """Wait for operations and tell of it; give what went wrong, one error for each operation that did not succeed."""
    async with service.open() as session:
        waiter = session.resume(write_checkpoint(plan))
        standings = {member.ref: member for member in waiter.members}
        console = audience.console
        bars = nullcontext() if console is None else RichProgress(session=session, console=console).showing(waiter)
        async with saved(waiter, audience.file):
            with bars:
                async for operation in waiter:
                    audience.report(operation, standings[operation.ref].time_remaining)
        return [error for member in waiter.members if (error := find_fault(member)) is not None]


def find_fault(member: OperationProgress) -> Exception | None:
    """Say what went wrong with an operation that has ended, None where all is well."""
    outcome = member.outcome
    if isinstance(outcome, Operation) and outcome.is_failed:
        text = f"{member.ref} failed: {outcome.failure_description or 'no reason given'}"
        return OperationFailedError(text, ref=member.ref, operation=outcome)
    return outcome if isinstance(outcome, Exception) else None
