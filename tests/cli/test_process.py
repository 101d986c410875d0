import asyncio
import io
import logging
import os
import signal
import sys
import threading
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from click.exceptions import Exit

from schedules_async.cli.process import discard_output, logging_to_stderr, run_until_signal, usable_streams

LOGGER = logging.getLogger("schedules_async")
NEEDS_SIGNALS = pytest.mark.skipif(os.name != "posix", reason="event loops of Windows have no handlers of signals")


async def raise_signals(*numbers: int) -> None:
    for number in numbers:
        signal.raise_signal(number)
    await asyncio.get_running_loop().create_future()


@NEEDS_SIGNALS
@pytest.mark.parametrize(
    ("names", "exit_code"),
    [
        (("SIGINT",), 130),
        (("SIGTERM",), 143),
        (("SIGHUP",), 129),
        (("SIGTERM", "SIGHUP", "SIGTERM"), 143),
        (("SIGINT", "SIGINT", "SIGINT"), 130),
        (("SIGTERM", "SIGINT"), 143),
    ],
)
def test_signal_ends_the_work_after_its_cleanup(names: tuple[str, ...], exit_code: int) -> None:
    """A signal that follows, as from a terminal that hangs up, leaves the cleanup alone."""
    numbers = [getattr(signal, name) for name in names]
    handlers = [signal.getsignal(number) for number in numbers]
    cleaned: list[bool] = []

    async def work() -> None:
        try:
            await raise_signals(*numbers)
        finally:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            cleaned.append(True)

    with pytest.raises(Exit) as raised:
        run_until_signal(work())
    assert (raised.value.exit_code, cleaned) == (exit_code, [True])
    assert [signal.getsignal(number) for number in numbers] == handlers


async def succeed(results: list[str]) -> None:
    await asyncio.sleep(0)
    results.append("done")


async def fail() -> None:
    raise ValueError("wrong")


async def cancel_itself() -> None:
    raise asyncio.CancelledError


def test_work_without_signal_ends_or_raises() -> None:
    results: list[str] = []
    run_until_signal(succeed(results))
    assert results == ["done"]
    with pytest.raises(ValueError, match="wrong"):
        run_until_signal(fail())
    with pytest.raises(asyncio.CancelledError):
        run_until_signal(cancel_itself())


@NEEDS_SIGNALS
def test_ignored_signal_stays_ignored() -> None:
    """The command nohup lets SIGHUP be ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    results: list[str] = []

    async def survive() -> None:
        signal.raise_signal(signal.SIGHUP)
        await succeed(results)

    try:
        run_until_signal(survive())
        assert results == ["done"]
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_thread_without_signals_runs_the_work() -> None:
    """Only the main thread has handlers; Windows has none."""
    results: list[str] = []
    thread = threading.Thread(target=lambda: run_until_signal(succeed(results)))
    thread.start()
    thread.join()
    assert results == ["done"]


def test_keyboard_interrupt_ends_as_the_signal_does() -> None:
    """Windows' event loops have no handlers of signals."""

    async def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(Exit) as raised:
        run_until_signal(interrupt())
    assert raised.value.exit_code == 130


def test_closed_stream_discards_and_is_closed_again() -> None:
    with redirect_stdout(None), redirect_stderr(None):
        with usable_streams():
            assert (sys.stdout.write("text"), sys.stderr.write("text")) == (4, 4)
            nowhere = sys.stdout
        assert (sys.stdout, sys.stderr, nowhere.closed) == (None, None, True)


def test_characters_that_the_encoding_lacks_are_escaped() -> None:
    output = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    with redirect_stdout(output), redirect_stderr(io.StringIO()), usable_streams():
        sys.stdout.write("50 \u2713")
        sys.stdout.flush()
    assert output.buffer.getvalue() == b"50 \\u2713"


def test_discarded_output_needs_no_reader(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with (
        io.TextIOWrapper(io.FileIO(writing, "w")) as output,
        (tmp_path / "errors").open("w") as errors,
        redirect_stdout(output),
        redirect_stderr(errors),
    ):
        output.write("text")
        discard_output()
        output.flush()


@pytest.mark.parametrize("is_verbose", [False, True])
def test_log_goes_to_what_stderr_is_now(*, is_verbose: bool) -> None:
    """Bars replace the stream, to print above themselves."""
    level, before, later = LOGGER.level, io.StringIO(), io.StringIO()
    with redirect_stderr(before), logging_to_stderr(is_verbose=is_verbose), redirect_stderr(later):
        LOGGER.debug("looked at %s", "s/o")
        LOGGER.warning("throttled")
    LOGGER.error("after")
    lines = later.getvalue().splitlines()
    assert [line.split(" ", 2)[2] for line in lines] == (["DEBUG looked at s/o", "WARNING throttled"] * is_verbose)
    assert (before.getvalue(), LOGGER.level) == ("", level)


class Full(io.StringIO):
    """A stream to a file on a full disk."""

    def write(self, _: str) -> int:
        raise OSError(28, "No space left on device")


def test_log_that_cannot_be_written_costs_nothing() -> None:
    with redirect_stderr(Full()), logging_to_stderr(is_verbose=True):
        LOGGER.warning("throttled")
