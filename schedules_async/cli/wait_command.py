"""The commands `get` and `wait`: fetching one operation, and waiting for many."""

from collections.abc import Mapping
from contextlib import nullcontext

from attrs import frozen
from rich.console import Console

from schedules_async import CheckpointFile, Operation, OperationRef, SchedulesError
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


async def fetch(service: Service, ref: OperationRef, report: Report) -> list[Exception]:
    """Fetch one operation and report it; return an error if it has failed or could not be fetched, else nothing."""
    outcome: Operation | SchedulesError
    try:
        async with service.open() as session:
            outcome = await session.get_operation(*ref)
            report.on_change(outcome)
    except SchedulesError as error:
        outcome = error
    return _find_errors({ref: outcome}, report)


async def wait_for_all(service: Service, plan: Checkpoint, output: Output) -> list[Exception]:
    """Wait for operations and report each change; return an error for each operation that did not succeed."""
    report, console = output.report, output.console
    async with service.open(report.on_event) as session:
        waiter = session.resume(write_checkpoint(plan))
        members = {member.ref: member for member in waiter.members}
        progress = RichProgress(names=output.names, session=session, console=console)
        bars = nullcontext() if console is None else progress.showing(waiter)
        saving = nullcontext() if output.file is None else checkpointed(waiter, output.file)
        async with saving:
            with bars:
                async for operation in waiter:
                    report.on_change(operation, members[operation.ref].time_remaining)
    return _find_errors({ref: member.outcome for ref, member in members.items()}, report)


def _find_errors(outcomes: Mapping[OperationRef, Operation | Exception | None], report: Report) -> list[Exception]:
    """Report the operations that were lost; return their errors, and one for each operation that has failed."""
    errors: list[Exception] = []
    for ref, outcome in outcomes.items():
        if isinstance(outcome, Exception):
            report.on_loss(ref, outcome)
            errors.append(outcome)
        elif outcome is not None and outcome.is_failed:
            text = f"{ref} failed: {outcome.failure_description or 'no reason given'}"
            errors.append(OperationFailedError(text, ref=ref, operation=outcome))
    return errors
