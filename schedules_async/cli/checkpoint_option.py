"""The option --checkpoint: the checkpoint of a wait in a file, saved after each change."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any

import click

from schedules_async import CheckpointFile, GroupWaiter, Operation, OperationRef, OperationWaiter
from schedules_async._waiters.checkpoint import Checkpoint, read_checkpoint
from schedules_async.cli.exit_codes import SERVICE_ERROR, USAGE, CommandError

AnyWaiter = OperationWaiter | GroupWaiter[Any]

_IDLE_FACTOR = 9  # pause after a save, in multiples of its duration: at most a tenth of the time is spent on saving


def load_checkpoint(file: CheckpointFile, refs: Iterable[OperationRef]) -> Checkpoint | None:
    """Return the checkpoint in a file, or None without one; raise a usage error if it is for other operations."""
    try:
        text = file.load()
        saved = None if text is None else read_checkpoint(text)
    except OSError as error:
        raise click.UsageError(f"The checkpoint file {file.path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise click.UsageError(f"Cannot resume from {file.path}: {error}.") from error
    if saved is None and not file.path.absolute().parent.is_dir():
        raise click.UsageError(f"The directory of the checkpoint file {file.path} does not exist.")
    asked = set(refs)
    if saved is not None and asked and asked != set(saved.refs):
        raise click.UsageError(f"The checkpoint file {file.path} is for other operations.")
    return saved


@asynccontextmanager
async def checkpointed(waiter: AnyWaiter, file: CheckpointFile) -> AsyncIterator[None]:
    """Save the checkpoint of a wait while the block runs; delete the file at the end if every operation has ended.

    Raise CommandError before the block runs if the file cannot be replaced.
    """
    try:
        file.save(waiter)
    except OSError as error:
        sentence = f"The checkpoint file {file.path} cannot be replaced: {error.strerror}."
        raise CommandError(sentence, exit_code=USAGE) from error
    saving = asyncio.create_task(_save_changes(waiter, file))
    try:
        yield
    finally:
        saving.cancel()
        _save_or_remove(waiter, file)


def _save_or_remove(waiter: AnyWaiter, file: CheckpointFile) -> None:
    try:
        if all(isinstance(member.outcome, Operation) for member in waiter.members):
            file.remove()
        else:
            file.save(waiter)
    except OSError as error:
        sentence = f"The checkpoint file {file.path} could not be updated at the end: {error.strerror}."
        raise CommandError(sentence, exit_code=SERVICE_ERROR) from error


async def _save_changes(waiter: AnyWaiter, file: CheckpointFile) -> None:
    """Save after each change; one that cannot be saved, for instance on a full disk, is saved with the next."""
    loop = asyncio.get_running_loop()
    async for _ in waiter:
        before = loop.time()
        with suppress(OSError):
            file.save(waiter)
        await asyncio.sleep(_IDLE_FACTOR * (loop.time() - before))
