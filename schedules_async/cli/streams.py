"""Standard streams that are closed or cannot be written to, and the log on stderr."""

import io
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path

_LOGGER = logging.getLogger("schedules_async")


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
    if is_verbose:
        _LOGGER.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        _LOGGER.setLevel(before)
        _LOGGER.removeHandler(handler)
