"""The option --checkpoint: a wait in a file, updated after each change."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

import click

from schedules_async import Operation, OperationGroupWaiter, OperationRef, OperationWaiter
from schedules_async._waiters.checkpoint import Checkpoint, read_checkpoint

_IDLE_FACTOR = 9  # times what writing took, so that it takes at most a tenth of the event loop's time


def load_checkpoint(path: Path, refs: tuple[OperationRef, ...]) -> Checkpoint | None:
    """Return the checkpoint in a file, None if there is no file; a usage error unless it is for these operations."""
    try:
        saved = read_checkpoint(path.read_text("utf-8"))
    except FileNotFoundError as error:
        if not path.absolute().parent.is_dir():
            raise click.UsageError(f"The directory of the checkpoint file {path} does not exist.") from error
        return None
    except OSError as error:
        raise click.UsageError(f"The checkpoint file {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise click.UsageError(f"Cannot resume from {path}: {error}.") from error
    if refs and set(refs) != set(saved.refs):
        raise click.UsageError(f"The checkpoint file {path} is for other operations.")
    return saved


@asynccontextmanager
async def checkpointed(waiter: OperationWaiter | OperationGroupWaiter, path: Path | None) -> AsyncIterator[None]:
    """Save a wait to a file while the block runs; the file is deleted if every operation has ended by then."""
    if path is None:
        yield
        return
    replace_file(path, waiter.checkpoint())  # before the first request, so that an unwritable file is an error at once
    saving = asyncio.create_task(_save_changes(waiter, path))
    try:
        yield
    finally:
        saving.cancel()
        _save_or_delete(waiter, path)


def _save_or_delete(waiter: OperationWaiter | OperationGroupWaiter, path: Path) -> None:
    if all(isinstance(member.outcome, Operation) for member in waiter.members):
        path.unlink(missing_ok=True)
    else:
        replace_file(path, waiter.checkpoint())


async def _save_changes(waiter: OperationWaiter | OperationGroupWaiter, path: Path) -> None:
    """Save after each change; one that cannot be saved, as on a full disk, is saved with the next."""
    loop = asyncio.get_running_loop()
    async for _ in waiter:
        before = loop.time()
        with suppress(OSError):
            replace_file(path, waiter.checkpoint())
        await asyncio.sleep(_IDLE_FACTOR * (loop.time() - before))


def replace_file(path: Path, text: str) -> None:
    """Replace the contents of a file in one step: it holds either the old text or the new, never a part."""
    with NamedTemporaryFile("w", encoding="utf-8", dir=path.absolute().parent, delete=False) as file:
        draft = Path(file.name)
        with ExitStack() as cleanup:
            cleanup.callback(draft.unlink)
            file.write(text)
            file.close()
            draft.replace(path)
            cleanup.pop_all()
