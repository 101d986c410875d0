"""Fetching one operation, and waiting for many, as the commands `get` and `wait` do."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from attrs import frozen
from rich.console import Console

from schedules_async import Operation, OperationRef, SchedulesSession, TimeRemaining
from schedules_async._waiters.checkpoint import Checkpoint, write_checkpoint
from schedules_async._waiters.waiter import OperationProgress
from schedules_async.cli.arguments import Identity
from schedules_async.cli.checkpoint_option import checkpointed
from schedules_async.errors import OperationFailedError
from schedules_async.progress import RichProgress

Report = Callable[[Operation, TimeRemaining | None], None]


@frozen
class Service:
    """The service that a command asks, and the identity that it uses."""

    identity: Identity
    base_url: str

    def open(self) -> SchedulesSession:
        """Return a new session; raise ValueError if the base URL or the token is unusable."""
        return SchedulesSession(self.identity.auth, base_url=self.base_url)


@frozen
class Output:
    """Where a wait writes: `report` is called with each change; bars go to `console`, the checkpoint to `file`."""

    report: Report
    console: Console | None = None
    file: Path | None = None


async def fetch(service: Service, ref: OperationRef) -> Operation:
    """Return the current snapshot of an operation."""
    async with service.open() as session:
        return await session.get_operation(*ref)


async def wait_for_all(service: Service, plan: Checkpoint, output: Output) -> list[Exception]:
    """Wait for operations and report each change; return an error for each operation that did not succeed."""
    async with service.open() as session:
        waiter = session.resume(write_checkpoint(plan))
        members = {member.ref: member for member in waiter.members}
        console = output.console
        bars = nullcontext() if console is None else RichProgress(session=session, console=console).showing(waiter)
        async with checkpointed(waiter, output.file):
            with bars:
                async for operation in waiter:
                    output.report(operation, members[operation.ref].time_remaining)
        return [error for member in waiter.members if (error := error_of(member)) is not None]


def error_of(member: OperationProgress) -> Exception | None:
    """Return the error of an operation that failed or was lost, None if it succeeded."""
    outcome = member.outcome
    if isinstance(outcome, Operation) and outcome.is_failed:
        text = f"{member.ref} failed: {outcome.failure_description or 'no reason given'}"
        return OperationFailedError(text, ref=member.ref, operation=outcome)
    return outcome if isinstance(outcome, Exception) else None
