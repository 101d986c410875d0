import asyncio
import gc
import math
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any

import pytest

from schedules_async._clock import Clock
from schedules_async.testing import FakeClock


async def note(clock: FakeClock, log: list[tuple[str, float]], name: str, *seconds: float) -> None:
    for each in seconds:
        await clock.sleep(each)
        log.append((name, clock.monotonic()))


async def spin(iterations: int) -> None:
    for _ in range(iterations):
        await asyncio.sleep(0)


async def count_iterations_to_jump() -> int:
    """Return how often a busy source is asked before the first of two sleeps ends, the last time just before it."""
    clock, calls = FakeClock(), list[float]()

    def note_time() -> bool:
        calls.append(clock.monotonic())
        return False

    clock.add_busy(note_time)
    await asyncio.gather(asyncio.create_task(clock.sleep(1)), clock.sleep(2))
    return calls.count(0)


def test_fake_clock_implements_clock() -> None:
    clock: Clock = FakeClock()
    assert clock.monotonic() == 0.0
    assert FakeClock(5).monotonic() == 5.0


@pytest.mark.parametrize(
    ("sleepers", "log"),
    [
        ({"a": [3600.0]}, [("a", 3600)]),
        ({"a": [3], "b": [1], "c": [2]}, [("b", 1), ("c", 2), ("a", 3)]),
        ({"b": [1], "a": [1], "c": [1]}, [("b", 1), ("a", 1), ("c", 1)]),
        ({"a": [2, 2], "b": [3, 1]}, [("a", 2), ("b", 3), ("a", 4), ("b", 4)]),
        ({"a": [0, 1], "b": [-1, 0]}, [("a", 0), ("b", 0), ("b", 0), ("a", 1)]),
    ],
)
async def test_automatic_clock_jumps_from_sleep_to_sleep(
    sleepers: dict[str, list[float]], log: list[tuple[str, float]]
) -> None:
    clock, woken = FakeClock(), list[tuple[str, float]]()
    await asyncio.gather(*(note(clock, woken, name, *seconds) for name, seconds in sleepers.items()))
    assert woken == log
    assert sorted(clock.pauses) == sorted(each for seconds in sleepers.values() for each in seconds)


async def test_pauses_lists_sleeps_in_order() -> None:
    clock = FakeClock()
    await asyncio.gather(clock.sleep(3), clock.sleep(0), clock.sleep(1.5))
    assert clock.pauses == [3, 0, 1.5]


@pytest.mark.parametrize("seconds", [0, -1])
async def test_sleep_of_zero_or_less_yields_once(seconds: float) -> None:
    clock, others = FakeClock(), list[int]()
    asyncio.get_running_loop().call_soon(others.append, 1)
    await clock.sleep(seconds)
    assert others == [1]
    assert clock.monotonic() == 0


async def test_sleep_of_nan_raises_value_error() -> None:
    with pytest.raises(ValueError, match="NaN"):
        await FakeClock().sleep(math.nan)


@pytest.mark.parametrize("iterations", [1, 24, 26, 45])
async def test_new_sleep_restarts_idle_count(iterations: int) -> None:
    clock, woken = FakeClock(), list[tuple[str, float]]()
    late = asyncio.create_task(note(clock, woken, "late", 10))
    for _ in range(5):
        await spin(iterations)
        await clock.sleep(0)
    assert not woken
    early = asyncio.create_task(note(clock, woken, "early", 5))
    await asyncio.gather(late, early)
    assert woken == [("early", 5), ("late", 10)]


async def test_quiet_loop_jumps_sooner_than_busy_one() -> None:
    """What runs in every iteration delays a jump, but never prevents it."""
    alone = await count_iterations_to_jump()
    spinner = asyncio.create_task(spin(1000))
    assert 4 * alone < await count_iterations_to_jump()
    assert not spinner.done()
    await spinner


async def test_busy_source_stops_time() -> None:
    clock, calls = FakeClock(), list[float]()

    def is_busy() -> bool:
        calls.append(clock.monotonic())
        return len(calls) < 500

    clock.add_busy(is_busy)
    await clock.sleep(1)
    assert len(calls) >= 500
    assert set(calls) == {0}


async def test_cancelled_sleep_is_removed_at_once() -> None:
    clock = FakeClock()
    task = asyncio.create_task(clock.sleep(1))
    await asyncio.sleep(0)
    assert clock.sleeping == 1
    task.cancel()
    await asyncio.wait({task})
    assert clock.sleeping == 0
    await clock.sleep(5)
    assert clock.monotonic() == 5


async def test_sleep_cancelled_during_jump_is_skipped() -> None:
    clock, calls, ended, last = FakeClock(), list[int](), list[float](), await count_iterations_to_jump()

    async def early() -> None:
        try:
            await clock.sleep(1)
        finally:
            ended.append(clock.monotonic())

    task = asyncio.create_task(early())

    def cancel_at_last_iteration() -> bool:
        calls.append(1)
        if len(calls) == last:
            task.cancel()
        return False

    clock.add_busy(cancel_at_last_iteration)
    await asyncio.gather(task, clock.sleep(2), return_exceptions=True)
    assert ended == [0]
    assert clock.monotonic() == 2


async def test_cancelled_sleep_leaves_equal_one_pending() -> None:
    clock, woken = FakeClock(), list[tuple[str, float]]()
    first, second = (asyncio.create_task(note(clock, woken, name, 4)) for name in ("first", "second"))
    await asyncio.sleep(0)
    first.cancel()
    await second
    assert woken == [("second", 4)]


async def test_clock_without_sleeps_holds_no_handle() -> None:
    clock = FakeClock()
    await clock.sleep(1)
    assert clock._handle is None
    task = asyncio.create_task(clock.sleep(1))
    await asyncio.sleep(0)
    assert clock._handle is not None
    task.cancel()
    await asyncio.wait({task})
    assert clock._handle is None
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("is_automatic", [True, False])
def test_loop_closed_with_pending_sleep_ends_cleanly(is_automatic: bool) -> None:
    clock = FakeClock(auto=is_automatic)
    kept = []

    async def leave_sleep_pending() -> None:
        kept.append(asyncio.create_task(clock.sleep(100)))
        await asyncio.sleep(0)

    asyncio.run(leave_sleep_pending(), debug=True)
    assert kept.pop().cancelled()
    gc.collect()
    assert clock.sleeping == 0


def test_sleep_closed_after_its_loop_ends_cleanly() -> None:
    clock = FakeClock()
    loop = asyncio.new_event_loop()
    sleep: Coroutine[Any, Any, None] = clock.sleep(1)
    loop.call_soon(lambda: sleep.send(None))
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    sleep.close()
    assert clock.sleeping == 0


async def test_infinite_sleep_does_not_hold_back_others() -> None:
    clock = FakeClock()
    endless = asyncio.create_task(clock.sleep(math.inf))
    await clock.sleep(7)
    assert clock.monotonic() == 7
    assert clock._handle is None
    assert not endless.done()
    endless.cancel()


async def test_infinite_sleep_alone_holds_no_handle() -> None:
    clock = FakeClock()
    endless = asyncio.create_task(clock.sleep(math.inf))
    await asyncio.sleep(0)
    assert clock._handle is None
    endless.cancel()
    await asyncio.wait({endless})
    assert clock.sleeping == 0


async def test_eager_tasks_sleep_in_order() -> None:
    loop, clock, woken = asyncio.get_running_loop(), FakeClock(), list[tuple[str, float]]()
    loop.set_task_factory(getattr(asyncio, "eager_task_factory", None))  # 3.12 and later
    tasks = [asyncio.create_task(note(clock, woken, str(number), number)) for number in (2, 0, 1)]
    await asyncio.gather(*tasks)
    assert woken == [("0", 0), ("1", 1), ("2", 2)]


async def test_loopback_traffic_completes_before_time_jumps() -> None:
    """A fake second ends only after the bytes on the loopback have arrived."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(100_000))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    clock = FakeClock()
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server:
        timer = asyncio.create_task(clock.sleep(1))
        await asyncio.sleep(0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"x" * 100_000)
        assert len(await reader.read(-1)) == 100_000
        assert clock.monotonic() == 0
        writer.close()
        await writer.wait_closed()
        await timer


@pytest.mark.parametrize(
    ("steps", "log"),
    [
        ([10], [("a", 3), ("b", 4), ("a", 6), ("b", 8)]),
        ([3, 1], [("a", 3), ("b", 4)]),
        ([2.5], []),
        ([0, 3, 0, 3], [("a", 3), ("b", 4), ("a", 6)]),
    ],
)
async def test_advance_ends_sleeps_up_to_target(steps: list[float], log: list[tuple[str, float]]) -> None:
    clock, woken = FakeClock(auto=False), list[tuple[str, float]]()
    tasks = [asyncio.create_task(note(clock, woken, "a", 3, 3)), asyncio.create_task(note(clock, woken, "b", 4, 4))]
    for step in steps:
        await clock.advance(step)
    assert woken == log
    assert clock.monotonic() == sum(steps)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert clock._handle is None


async def test_concurrent_advances_add_up() -> None:
    clock, woken = FakeClock(10.0, auto=False), list[tuple[str, float]]()
    task = asyncio.create_task(note(clock, woken, "a", 3, 3))
    await asyncio.gather(clock.advance(2), clock.advance(4))
    assert clock.monotonic() == 16
    assert woken == [("a", 13), ("a", 16)]
    await task


async def test_cancelled_advance_leaves_time_unchanged() -> None:
    clock = FakeClock(auto=False)
    advance = asyncio.create_task(clock.advance(5))
    await spin(3)
    advance.cancel()
    await asyncio.wait({advance})
    assert clock.monotonic() == 0
    assert clock._handle is None
    await clock.advance(5)
    assert clock.monotonic() == 5


async def test_advance_cancelled_when_idle_leaves_time_unchanged() -> None:
    clock, calls, last = FakeClock(auto=False), list[int](), await count_iterations_to_jump()

    def cancel_at_last_iteration() -> bool:
        calls.append(1)
        if len(calls) == last:
            advance.cancel()
        return False

    clock.add_busy(cancel_at_last_iteration)
    advance = asyncio.create_task(clock.advance(5))
    await asyncio.wait({advance})
    assert advance.cancelled()
    assert clock.monotonic() == 0


@pytest.mark.parametrize("seconds", [-1, math.nan, math.inf])
async def test_advance_by_invalid_seconds_raises_value_error(seconds: float) -> None:
    with pytest.raises(ValueError, match="finite and not negative"):
        await FakeClock(auto=False).advance(seconds)


async def test_advance_of_automatic_clock_raises_value_error() -> None:
    with pytest.raises(ValueError, match="advances by itself"):
        await FakeClock().advance(1)


class StoppedLoop(asyncio.SelectorEventLoop):
    """A loop on which no timer ends, as under freezegun; it raises once it would hang."""

    calls = 0

    def time(self) -> float:
        self.calls += 1
        if self.calls > 20_000:
            raise AssertionError("the loop waits for a timer")
        return 0.0


def test_clock_works_while_loop_time_is_stopped() -> None:
    clock = FakeClock()
    with asyncio.Runner(loop_factory=StoppedLoop) as runner:
        runner.run(clock.sleep(60))
    assert clock.monotonic() == 60


async def test_clock_is_advanced_by_a_timedelta() -> None:
    clock = FakeClock(auto=False)
    await clock.advance(timedelta(minutes=1))
    assert clock.monotonic() == 60
