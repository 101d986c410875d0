import asyncio
import gc
import math
from collections.abc import Coroutine
from typing import Any

import pytest

from schedules_async._clock import Clock
from schedules_async.testing import FakeClock


async def note(clock: FakeClock, log: list[tuple[str, float]], name: str, *pauses: float) -> None:
    for pause in pauses:
        await clock.sleep(pause)
        log.append((name, clock.monotonic()))


async def spin(turns: int) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)


def test_it_is_a_clock() -> None:
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
async def test_time_jumps_from_sleeper_to_sleeper(
    sleepers: dict[str, list[float]], log: list[tuple[str, float]]
) -> None:
    clock, woken = FakeClock(), list[tuple[str, float]]()
    await asyncio.gather(*(note(clock, woken, name, *pauses) for name, pauses in sleepers.items()))
    assert woken == log
    assert sorted(clock.pauses) == sorted(pause for pauses in sleepers.values() for pause in pauses)


async def test_pauses_are_listed_in_the_order_of_asking() -> None:
    clock = FakeClock()
    await asyncio.gather(clock.sleep(3), clock.sleep(0), clock.sleep(1.5))
    assert clock.pauses == [3, 0, 1.5]


@pytest.mark.parametrize("seconds", [0, -1])
async def test_a_sleep_of_nothing_yields_once(seconds: float) -> None:
    clock, others = FakeClock(), list[int]()
    asyncio.get_running_loop().call_soon(others.append, 1)
    await clock.sleep(seconds)
    assert others == [1]
    assert clock.monotonic() == 0


async def test_a_sleep_of_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        await FakeClock().sleep(math.nan)


@pytest.mark.parametrize("turns", [1, 49, 51, 90])
async def test_a_new_sleep_starts_the_count_over(turns: int) -> None:
    clock, woken = FakeClock(), list[tuple[str, float]]()
    late = asyncio.create_task(note(clock, woken, "late", 10))
    for _ in range(5):
        await spin(turns)
        await clock.sleep(0)
    assert not woken
    early = asyncio.create_task(note(clock, woken, "early", 5))
    await asyncio.gather(late, early)
    assert woken == [("early", 5), ("late", 10)]


async def test_time_stands_still_while_a_source_is_busy() -> None:
    clock, polls = FakeClock(), list[float]()

    def is_busy() -> bool:
        polls.append(clock.monotonic())
        return len(polls) < 500

    clock.add_busy(is_busy)
    await clock.sleep(1)
    assert len(polls) > 500
    assert set(polls) == {0}


async def test_a_cancelled_sleep_vanishes_at_once() -> None:
    clock = FakeClock()
    task = asyncio.create_task(clock.sleep(1))
    await asyncio.sleep(0)
    assert clock.sleeping == 1
    task.cancel()
    await asyncio.wait({task})
    assert clock.sleeping == 0
    await clock.sleep(5)
    assert clock.monotonic() == 5


async def test_time_does_not_jump_to_a_sleep_cancelled_in_the_same_turn() -> None:
    clock, polls, seen = FakeClock(), list[int](), list[float]()

    async def early() -> None:
        try:
            await clock.sleep(1)
        finally:
            seen.append(clock.monotonic())

    task = asyncio.create_task(early())

    def cancel_at_the_last_turn() -> bool:
        polls.append(1)
        if len(polls) == 100:
            task.cancel()
        return False

    clock.add_busy(cancel_at_the_last_turn)
    await asyncio.gather(task, clock.sleep(2), return_exceptions=True)
    assert seen == [0]
    assert clock.monotonic() == 2


async def test_one_cancelled_sleep_leaves_the_others() -> None:
    clock, woken = FakeClock(), list[tuple[str, float]]()
    first, second = (asyncio.create_task(note(clock, woken, name, 4)) for name in ("first", "second"))
    await asyncio.sleep(0)
    first.cancel()
    await second
    assert woken == [("second", 4)]


async def test_nothing_is_left_when_nobody_sleeps() -> None:
    clock = FakeClock()
    watch = clock._watch
    await clock.sleep(1)
    assert watch._handle is None
    task = asyncio.create_task(clock.sleep(1))
    await asyncio.sleep(0)
    assert watch._handle is not None
    task.cancel()
    await asyncio.wait({task})
    assert watch._handle is None
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("is_automatic", [True, False])
def test_a_loop_that_ends_with_sleepers_ends_cleanly(is_automatic: bool) -> None:
    clock = FakeClock(auto=is_automatic)
    kept = []

    async def leave_a_sleeper() -> None:
        kept.append(asyncio.create_task(clock.sleep(100)))
        await asyncio.sleep(0)

    asyncio.run(leave_a_sleeper(), debug=True)
    assert kept.pop().cancelled()
    gc.collect()
    assert clock.sleeping == 0


def test_a_sleep_thrown_away_after_its_loop_ends_cleanly() -> None:
    clock = FakeClock()
    loop = asyncio.new_event_loop()
    sleep: Coroutine[Any, Any, None] = clock.sleep(1)
    loop.call_soon(lambda: sleep.send(None))
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    sleep.close()
    assert clock.sleeping == 0


async def test_an_endless_sleep_lets_the_others_go_on() -> None:
    clock = FakeClock()
    endless = asyncio.create_task(clock.sleep(math.inf))
    await clock.sleep(7)
    assert clock.monotonic() == 7
    assert clock._watch._handle is None
    assert not endless.done()
    endless.cancel()


async def test_an_endless_sleep_alone_costs_nothing() -> None:
    clock = FakeClock()
    endless = asyncio.create_task(clock.sleep(math.inf))
    await asyncio.sleep(0)
    assert clock._watch._handle is None
    endless.cancel()
    await asyncio.wait({endless})
    assert clock.sleeping == 0


async def test_eager_tasks_sleep_too() -> None:
    loop, clock, woken = asyncio.get_running_loop(), FakeClock(), list[tuple[str, float]]()
    loop.set_task_factory(getattr(asyncio, "eager_task_factory", None))  # 3.12 and later
    tasks = [asyncio.create_task(note(clock, woken, str(number), number)) for number in (2, 0, 1)]
    await asyncio.gather(*tasks)
    assert woken == [("0", 0), ("1", 1), ("2", 2)]


async def test_a_real_connection_is_waited_for() -> None:
    """Bytes on the loopback arrive before the fake second is over."""

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
async def test_advance(steps: list[float], log: list[tuple[str, float]]) -> None:
    clock, woken = FakeClock(auto=False), list[tuple[str, float]]()
    tasks = [asyncio.create_task(note(clock, woken, "a", 3, 3)), asyncio.create_task(note(clock, woken, "b", 4, 4))]
    for step in steps:
        await clock.advance(step)
    assert woken == log
    assert clock.monotonic() == sum(steps)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert clock._watch._handle is None


async def test_advances_called_together_add_up() -> None:
    clock, woken = FakeClock(10.0, auto=False), list[tuple[str, float]]()
    task = asyncio.create_task(note(clock, woken, "a", 3, 3))
    await asyncio.gather(clock.advance(2), clock.advance(4))
    assert clock.monotonic() == 16
    assert woken == [("a", 13), ("a", 16)]
    await task


async def test_a_cancelled_advance_stops_where_it_was() -> None:
    clock = FakeClock(auto=False)
    advance = asyncio.create_task(clock.advance(5))
    await spin(3)
    advance.cancel()
    await asyncio.wait({advance})
    assert clock.monotonic() == 0
    assert clock._watch._handle is None
    await clock.advance(5)
    assert clock.monotonic() == 5


async def test_quiet_that_comes_as_the_advance_is_cancelled_is_forgotten() -> None:
    clock, polls = FakeClock(auto=False), list[int]()

    def cancel_at_the_last_turn() -> bool:
        polls.append(1)
        if len(polls) == 100:
            advance.cancel()
        return False

    clock.add_busy(cancel_at_the_last_turn)
    advance = asyncio.create_task(clock.advance(5))
    await asyncio.wait({advance})
    assert advance.cancelled()
    assert clock.monotonic() == 0


@pytest.mark.parametrize("seconds", [-1, math.nan, math.inf])
async def test_advance_takes_a_finite_time(seconds: float) -> None:
    with pytest.raises(ValueError, match="never back"):
        await FakeClock(auto=False).advance(seconds)


async def test_an_automatic_clock_is_not_advanced() -> None:
    with pytest.raises(ValueError, match="moves by itself"):
        await FakeClock().advance(1)
