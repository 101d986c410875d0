"""What `get` and `wait` do: a session with the environment's proxies and certificates, a fetch, a wait with a file."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext, suppress
from typing import Any

import aiohttp
import click
from attrs import evolve
from rich.console import Console
from yarl import URL

from schedules_async import CheckpointFile, GroupWaiter, OperationRef, OperationWaiter, RetryPolicy, SchedulesSession
from schedules_async._auth.variables import read_auth
from schedules_async._waiters.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from schedules_async.cli.reports import CommandError, Lines, print_error
from schedules_async.errors import OperationFailedError, OperationGroupError
from schedules_async.events import Hook
from schedules_async.progress import RichProgress

AnyWaiter = OperationWaiter | GroupWaiter[Any]
Opening = AbstractAsyncContextManager[SchedulesSession]

_KEEPALIVE = 60.0  # seconds; longer than the usual interval between two polls, so that they share a connection
_IDLE_FACTOR = 9  # pause after a save, in multiples of its duration: at most a tenth of the time is spent on saving


@asynccontextmanager
async def open_session(
    base_url: str | URL, token: str | None, retry: RetryPolicy, *hooks: Hook
) -> AsyncIterator[SchedulesSession]:
    """Open a session; raise ValueError or a usage error if the base URL, credentials or certificates are unusable.

    `token` is that of `--token-file`, if any. The requests of the session, including those for tokens, use HTTPS_PROXY
    unless the host is in NO_PROXY, and the certificates of SSL_CERT_FILE or the system.
    """
    path = os.environ.get("SSL_CERT_FILE") or None
    try:
        context = ssl.create_default_context(cafile=path)
    except ssl.SSLError as error:
        raise click.UsageError(f"The file {path} of $SSL_CERT_FILE contains no certificates.") from error
    except OSError as error:
        raise click.UsageError(f"The file {path} of $SSL_CERT_FILE cannot be read: {error.strerror}.") from error
    connector = aiohttp.TCPConnector(ssl=context, keepalive_timeout=_KEEPALIVE)
    async with aiohttp.ClientSession(connector=connector, trust_env=True) as http:
        try:
            auth = token or read_auth(base_url, http)
        except ValueError as error:
            raise click.UsageError(f"{error} (see also --token-file)") from error
        async with SchedulesSession(auth, base_url=base_url, retry=retry, http=http, hooks=hooks) as session:
            yield session


async def fetch(opening: Opening, ref: OperationRef, report: Lines) -> None:
    """Fetch one operation and report it; raise OperationFailedError if it has failed."""
    async with opening as session:
        operation = await session.get_operation(ref)
        report.on_change(operation)
    if operation.is_failed:
        text = f"{ref} failed: {operation.failure_description or 'no reason given'}"
        raise OperationFailedError(text, ref=ref, operation=operation)


async def wait_for_all(
    opening: Opening, plan: Checkpoint, report: Lines, console: Console | None, file: CheckpointFile | None
) -> None:
    """Wait for operations and report each change; raise an OperationGroupError unless all succeed.

    Display bars on `console`, and save the checkpoint to `file`, unless they are None.
    """
    async with opening as session:
        waiter = session.resume(write_checkpoint(plan))
        with nullcontext() if file is None else checkpointed(waiter, file):
            await follow(waiter, session, report, console)


async def follow(waiter: AnyWaiter, session: SchedulesSession, report: Lines, console: Console | None) -> None:
    """Report each change of a wait until it ends, and display bars on `console` unless it is None."""
    members = {member.ref: member for member in waiter.members}
    progress = RichProgress(names=report.names, session=session, console=console)
    with nullcontext() if console is None else progress.showing(waiter):
        async for operation in waiter:
            report.on_change(operation, members[operation.ref].time_remaining)


def make_plan(
    refs: Collection[OperationRef], file: CheckpointFile | None, timeout: float, stall_timeout: float
) -> Checkpoint:
    """Return a new wait, or that of a checkpoint file with new timeouts; raise a usage error if there is neither."""
    plan = saved = Checkpoint(tuple(refs), {}, is_group=True, check=True, timeout=timeout, stall_timeout=stall_timeout)
    if file is not None:
        try:
            if (text := file.load()) is not None:
                saved = read_checkpoint(text)
        except OSError as error:
            raise click.UsageError(f"The checkpoint file {file.path} cannot be read: {error.strerror}.") from error
        except ValueError as error:
            raise click.UsageError(f"Cannot resume from {file.path}: {error}.") from error
        if saved is plan and not file.path.absolute().parent.is_dir():
            raise click.UsageError(f"The directory of the checkpoint file {file.path} does not exist.")
        if refs and set(refs) != set(saved.refs):
            raise click.UsageError(f"The checkpoint file {file.path} is for other operations.")
    if saved is plan and not refs:
        raise click.UsageError("Missing argument 'REF': an operation, or - to read them from standard input.")
    return evolve(plan, refs=saved.refs, saved=saved.saved)


@contextmanager
def checkpointed(waiter: AnyWaiter, file: CheckpointFile) -> Iterator[None]:
    """Save the checkpoint of a wait while the block runs; delete the file at the end if every operation has ended.

    Raise a usage error before the block runs if the file cannot be replaced. If it cannot be updated at the end, raise
    a CommandError, or print the sentence if the block has raised, so that its exception is reported too.
    """
    try:
        file.save(waiter)
    except OSError as error:
        waiter.close()  # it is not forgotten, which would be a RuntimeWarning
        raise click.UsageError(f"The checkpoint file {file.path} cannot be replaced: {error.strerror}.") from error
    saving, is_over = asyncio.create_task(_save_changes(waiter, file)), False
    try:
        yield
        is_over = True
    finally:
        saving.cancel()
        try:
            _save_last(waiter, file)
        except OSError as error:
            sentence = f"The checkpoint file {file.path} could not be updated at the end: {error.strerror}."
            if is_over:
                raise CommandError(sentence) from error
            print_error(sentence)


def _save_last(waiter: AnyWaiter, file: CheckpointFile) -> None:
    if any(member.outcome is None or isinstance(member.outcome, Exception) for member in waiter.members):
        file.save(waiter)
    else:
        file.remove()


async def _save_changes(waiter: AnyWaiter, file: CheckpointFile) -> None:
    """Save after each change; one that cannot be saved, for instance on a full disk, is saved with the next."""
    loop = asyncio.get_running_loop()
    with suppress(OperationGroupError):  # others report it
        async for _ in waiter:
            before = loop.time()
            with suppress(OSError):
                file.save(waiter)
            await asyncio.sleep(_IDLE_FACTOR * (loop.time() - before))
