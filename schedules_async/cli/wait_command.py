"""Fetching one operation, and waiting for many, as the commands `get` and `wait` do."""

from contextlib import nullcontext

from attrs import frozen
from rich.console import Console

from schedules_async import CheckpointFile, Operation, OperationProgress, OperationRef
from schedules_async._waiters.checkpoint import Checkpoint, write_checkpoint
from schedules_async.cli.checkpoint_option import checkpointed
from schedules_async.cli.reports import Names, Report
from schedules_async.cli.service import Service
from schedules_async.errors import OperationFailedError
from schedules_async.progress import RichProgress


@frozen
class Output:
    """Where a wait writes: to a report, as bars with `names` to a console, and to a checkpoint file."""

    report: Report
    names: Names
    console: Console | None = None
    file: CheckpointFile | None = None


async def fetch(service: Service, ref: OperationRef) -> Operation:
    """Return the current snapshot of an operation."""
    async with service.open() as session:
        return await session.get_operation(*ref)


async def wait_for_all(service: Service, plan: Checkpoint, output: Output) -> list[Exception]:
    """Wait for operations and report each change; return an error for each operation that did not succeed."""
    report, console = output.report, output.console
    async with service.open(report.on_event) as session:
        waiter = session.resume(write_checkpoint(plan))
        members = {member.ref: member for member in waiter.members}
        progress = RichProgress(names=output.names, session=session, console=console)
        bars = nullcontext() if console is None else progress.showing(waiter)
        async with checkpointed(waiter, output.file):
            with bars:
                async for operation in waiter:
                    report.on_change(operation, members[operation.ref].time_remaining)
        for member in waiter.members:
            if isinstance(member.outcome, Exception):
                report.on_loss(member.ref, member.outcome)
        return [error for member in waiter.members if (error := error_of(member)) is not None]


def error_of(member: OperationProgress) -> Exception | None:
    """Return the error of an operation that failed or was lost, None if it succeeded."""
    outcome = member.outcome
    if isinstance(outcome, Operation) and outcome.is_failed:
        text = f"{member.ref} failed: {outcome.failure_description or 'no reason given'}"
        return OperationFailedError(text, ref=member.ref, operation=outcome)
    return outcome if isinstance(outcome, Exception) else None
