"""Ctrl-C, and the signals that end a process as Ctrl-C does: SIGTERM, and SIGHUP of a terminal that hangs up."""

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from schedules_async.cli.exit_codes import CommandError

Value = TypeVar("Value")

_NAMES = ("SIGTERM", "SIGHUP")  # not every platform has the second


class EndedBySignalError(CommandError):
    """A signal ended the command, whose exit code is the one that a shell reports of such a process."""

    def __init__(self, number: int) -> None:
        super().__init__(exit_code=128 + number)


def run_until_signal(work: Coroutine[Any, Any, Value]) -> Value:
    """Run a coroutine; a signal cancels it, so that it cleans up, and is then an EndedBySignalError."""
    try:
        return asyncio.run(_run_until_signal(work))
    except KeyboardInterrupt as error:
        raise EndedBySignalError(signal.SIGINT) from error


async def _run_until_signal(work: Coroutine[Any, Any, Value]) -> Value:
    task = asyncio.create_task(work)
    received: list[int] = []

    def on_signal(number: int) -> None:
        received.append(number)
        if len(received) == 1:  # a later one must not interrupt the cleanup
            task.cancel()

    with _handling(on_signal):
        try:
            return await task
        except asyncio.CancelledError as error:
            if not received:
                raise
            raise EndedBySignalError(received[0]) from error


@contextmanager
def _handling(on_signal: Callable[[int], None]) -> Iterator[None]:
    """Handle the signals while the block runs, unless they are ignored, as nohup lets SIGHUP be.

    Windows has no handlers of an event loop, and a thread that is not the main one cannot have any.
    """
    loop = asyncio.get_running_loop()
    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    handled: list[int] = []
    with suppress(RuntimeError):
        for number in numbers:
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, on_signal, number)
                handled.append(number)
    try:
        yield
    finally:
        for number in handled:
            loop.remove_signal_handler(number)
