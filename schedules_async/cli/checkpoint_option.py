"""The checkpoint of a wait in a file, as it stands after each change."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

import click

from schedules_async import Operation, OperationGroupWaiter, OperationRef, OperationWaiter
from schedules_async._waiters.checkpoint import Checkpoint, read_checkpoint

_REST = 9  # times what writing took, so that it takes a tenth of the event loop at most


def load_checkpoint(path: Path, refs: tuple[OperationRef, ...]) -> Checkpoint | None:
    """Read the file, None where there is none yet; a usage error unless it is a checkpoint of these operations."""
    try:
        saved = read_checkpoint(path.read_text("utf-8"))
    except FileNotFoundError as error:
        if not path.absolute().parent.is_dir():
            raise click.UsageError(f"There is no folder for the checkpoint {path}.") from error
        return None
    except OSError as error:
        raise click.UsageError(f"The checkpoint {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise click.UsageError(f"The file {path} cannot be resumed: {error}.") from error
    if refs and set(refs) != set(saved.refs):
        raise click.UsageError(f"The checkpoint {path} is one of other operations.")
    return saved


@asynccontextmanager
async def saved(waiter: OperationWaiter | OperationGroupWaiter, path: Path | None) -> AsyncIterator[None]:
    """Keep a wait in a file while the block runs; in the end it stays there unless every operation has ended."""
    if path is None:
        yield
        return
    write_whole(path, waiter.checkpoint())  # before anything is asked: a file that cannot be written is told at once
    saving = asyncio.create_task(_save_changes(waiter, path))
    try:
        yield
    finally:
        saving.cancel()
        _leave(waiter, path)


def _leave(waiter: OperationWaiter | OperationGroupWaiter, path: Path) -> None:
    if all(isinstance(member.outcome, Operation) for member in waiter.members):
        path.unlink(missing_ok=True)
    else:
        write_whole(path, waiter.checkpoint())


async def _save_changes(waiter: OperationWaiter | OperationGroupWaiter, path: Path) -> None:
    """Write after each change, while there is room on the disk: what comes later is written at the next."""
    loop = asyncio.get_running_loop()
    async for _ in waiter:
        before = loop.time()
        with suppress(OSError):
            write_whole(path, waiter.checkpoint())
        await asyncio.sleep(_REST * (loop.time() - before))


def write_whole(path: Path, text: str) -> None:
    """Put text into a file at a stroke: whoever reads it finds what was there before, or all that is there now."""
    with NamedTemporaryFile("w", encoding="utf-8", dir=path.absolute().parent, delete=False) as file:
        draft = Path(file.name)
        with ExitStack() as cleaning:
            cleaning.callback(draft.unlink)
            file.write(text)
            file.close()
            draft.replace(path)
            cleaning.pop_all()
