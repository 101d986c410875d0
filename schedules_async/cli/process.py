"""What surrounds a command: signals that end it as Ctrl-C does, standard streams that fail, and the log on stderr."""

import asyncio
import io
import logging
import os
import signal
import sys
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

from click.exceptions import Exit

_LOGGER = logging.getLogger("schedules_async")
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")  # the last is that of a terminal which hangs up; Windows lacks it


def run_until_signal(work: Coroutine[Any, Any, None], *, is_verbose: bool = False) -> None:
    """Run a coroutine, with the log on stderr if verbose; on a signal cancel it, wait for its cleanup, and raise Exit.

    The exit code is the one that a shell reports for a process which the signal has ended.
    """
    received: list[int] = []

    def on_signal(number: int) -> None:
        received.append(number)
        if len(received) == 1:  # a later one must not interrupt the cleanup
            task.cancel()

    try:
        with logging_to_stderr(is_verbose=is_verbose), asyncio.Runner() as runner:  # it removes the handlers
            loop = runner.get_loop()
            task = loop.create_task(work)
            for number in [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]:
                if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, for instance, ignores SIGHUP
                    with suppress(RuntimeError):  # on Windows, and in a thread that is not the main one
                        loop.add_signal_handler(number, on_signal, number)
            loop.run_until_complete(task)
    except asyncio.CancelledError as error:
        if not received:
            raise
        raise Exit(128 + received[0]) from error
    except KeyboardInterrupt as error:
        raise Exit(128 + signal.SIGINT) from error


@contextmanager
def usable_streams() -> Iterator[None]:
    """Discard what is written to a closed stream, and escape characters that the encoding of an open one lacks."""
    with ExitStack() as stack:
        for stream, redirect in ((sys.stdout, redirect_stdout), (sys.stderr, redirect_stderr)):
            if stream is None:
                nowhere = stack.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
                stack.enter_context(redirect(nowhere))
            elif isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        yield


def discard_output() -> None:
    """Redirect stdout and stderr to os.devnull, so that the interpreter's flush at exit does not fail again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


class _StderrHandler(logging.Handler):
    """Writes each record as a line to the current `sys.stderr`, which bars replace while they are displayed."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line, and any traceback; do nothing if the stream cannot be written to."""
        with suppress(OSError):
            sys.stderr.write(f"{self.format(record)}\n")
            sys.stderr.flush()


@contextmanager
def logging_to_stderr(*, is_verbose: bool) -> Iterator[None]:
    """Write the log of the library to stderr while the block runs; discard it unless `is_verbose`."""
    handler = _StderrHandler() if is_verbose else logging.NullHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    before = _LOGGER.level
    _LOGGER.addHandler(handler)
    _LOGGER.setLevel(logging.DEBUG if is_verbose else before)
    try:
        yield
    finally:
        _LOGGER.setLevel(before)
        _LOGGER.removeHandler(handler)
