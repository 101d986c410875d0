import asyncio
import signal
import threading

import pytest
from click.exceptions import Exit

from schedules_async.cli.interrupts import run_until_signal


async def raise_signals(*numbers: int) -> None:
    for number in numbers:
        signal.raise_signal(number)
    await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize(
    ("numbers", "exit_code"),
    [
        ((signal.SIGINT,), 130),
        ((signal.SIGTERM,), 143),
        ((signal.SIGHUP,), 129),
        ((signal.SIGTERM, signal.SIGHUP, signal.SIGTERM), 143),
        ((signal.SIGINT, signal.SIGINT, signal.SIGINT), 130),
        ((signal.SIGTERM, signal.SIGINT), 143),
    ],
)
def test_signal_ends_the_work_after_its_cleanup(numbers: tuple[int, ...], exit_code: int) -> None:
    """A signal that follows, as from a terminal that hangs up, leaves the cleanup alone."""
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


async def succeed() -> str:
    await asyncio.sleep(0)
    return "done"


async def fail() -> str:
    raise ValueError("wrong")


async def cancel_itself() -> str:
    raise asyncio.CancelledError


def test_work_without_signal_returns_or_raises() -> None:
    assert run_until_signal(succeed()) == "done"
    with pytest.raises(ValueError, match="wrong"):
        run_until_signal(fail())
    with pytest.raises(asyncio.CancelledError):
        run_until_signal(cancel_itself())


def test_ignored_signal_stays_ignored() -> None:
    """The command nohup lets SIGHUP be ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)

    async def survive() -> str:
        signal.raise_signal(signal.SIGHUP)
        return await succeed()

    try:
        assert run_until_signal(survive()) == "done"
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_thread_without_signals_runs_the_work() -> None:
    """Only the main thread has handlers; Windows has none."""
    results: list[str] = []
    thread = threading.Thread(target=lambda: results.append(run_until_signal(succeed())))
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
