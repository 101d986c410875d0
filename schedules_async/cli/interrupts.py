"""Ctrl-C, and the signals that end a process as Ctrl-C does: SIGTERM, and SIGHUP of a terminal that hangs up."""

import asyncio
import signal
from collections.abc import Coroutine
from contextlib import ExitStack, suppress
from typing import Any, TypeVar

from click.exceptions import Exit

Value = TypeVar("Value")

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
_SIGNALS = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]  # Windows lacks SIGHUP


def run_until_signal(work: Coroutine[Any, Any, Value]) -> Value:
    """Run a coroutine; on a signal cancel it, wait for its cleanup, and raise click's Exit.

    The exit code is the one that a shell reports for a process which the signal has ended.
    """
    try:
        return asyncio.run(_run_until_signal(work))
    except KeyboardInterrupt as error:
        raise Exit(128 + signal.SIGINT) from error


async def _run_until_signal(work: Coroutine[Any, Any, Value]) -> Value:
    loop, task = asyncio.get_running_loop(), asyncio.create_task(work)
    received: list[int] = []

    def on_signal(number: int) -> None:
        received.append(number)
        if len(received) == 1:  # a later one must not interrupt the cleanup
            task.cancel()

    with ExitStack() as stack:
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, for instance, ignores SIGHUP
                with suppress(RuntimeError):  # on Windows, and in a thread that is not the main one
                    loop.add_signal_handler(number, on_signal, number)
                    stack.callback(loop.remove_signal_handler, number)
        try:
            return await task
        except asyncio.CancelledError as error:
            if not received:
                raise
            raise Exit(128 + received[0]) from error
