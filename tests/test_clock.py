"""Timers: callbacks at times of a clock, behind one sleeping task."""

import asyncio
import time
from datetime import timedelta
from functools import partial
from typing import cast

import pytest
from event_loops import turns

from schedules_async._clock import SystemClock, Timers, to_seconds
from schedules_async.testing import FakeClock


async def test_timers_fire_in_order_of_their_times(clock: FakeClock) -> None:
    timers, heard = Timers(clock, asyncio.get_running_loop()), []

    def note(when: float) -> None:
        heard.append((when, clock.monotonic()))

    for when in (3.0, 1.0, 2.0, 1.0):
        timers.call_at(when, partial(note, when))
    await clock.sleep(5)
    assert heard == [(1.0, 1.0), (1.0, 1.0), (2.0, 2.0), (3.0, 3.0)]


async def test_only_the_earliest_timer_is_slept_for(clock: FakeClock) -> None:
    """An earlier timer shortens the sleep, a cancelled one lengthens it; without a timer there is no sleep."""
    timers = Timers(clock, asyncio.get_running_loop())
    late = timers.call_at(100, lambda: None)
    await turns(2)
    early = timers.call_at(10, lambda: None)
    await turns(2)
    early.cancel()
    await turns(2)
    assert clock.pauses == [100, 10, 100]
    assert late.is_pending
    late.cancel()
    late.cancel()
    await turns(2)
    assert clock.sleeping == 0
    assert not late.is_pending


async def test_timer_may_set_another(clock: FakeClock) -> None:
    timers, heard = Timers(clock, asyncio.get_running_loop()), []

    def again() -> None:
        heard.append(clock.monotonic())
        if len(heard) < 3:
            timers.call_at(clock.monotonic() + 1, again)

    timers.call_at(1, again)
    await clock.sleep(10)
    assert heard == [1, 2, 3]


async def test_cancelled_timers_do_not_pile_up(clock: FakeClock) -> None:
    """The timeouts of waits that end long before are such timers."""
    timers, heard = Timers(clock, asyncio.get_running_loop()), list[int]()
    timers.call_at(5000, lambda: heard.append(1))
    for number in range(1000):
        timers.call_at(3600 + number, lambda: heard.append(0)).cancel()
        await asyncio.sleep(0)
    assert len(timers._heap) < 10
    await clock.sleep(6000)
    assert heard == [1]


async def test_closing_forgets_every_timer(clock: FakeClock) -> None:
    timers, heard = Timers(clock, asyncio.get_running_loop()), []
    timers.call_at(1, lambda: heard.append(1))
    await turns(2)
    await timers.aclose()
    await timers.aclose()
    await clock.sleep(5)
    assert heard == []


async def test_clock_that_wakes_early_is_asked_again() -> None:
    class Hasty:
        """A `FakeClock` cannot take its place: it never wakes early."""

        now = 0.0

        def monotonic(self) -> float:
            return self.now

        async def sleep(self, seconds: float) -> None:
            self.now += min(seconds, 0.4)
            await asyncio.sleep(0)

    clock = Hasty()
    timers, rung = Timers(clock, asyncio.get_running_loop()), asyncio.Event()
    timers.call_at(1.0, rung.set)
    await rung.wait()
    assert clock.now >= 1


async def test_system_clock_counts_seconds() -> None:
    clock = SystemClock()
    before = clock.monotonic()
    await clock.sleep(0.01)
    assert clock.monotonic() - before >= 0.009
    assert abs(clock.monotonic() - time.monotonic()) < 60


def test_timer_after_the_loop_is_closed_is_harmless() -> None:
    loop = asyncio.new_event_loop()
    timer = Timers(SystemClock(), loop).call_at(1, lambda: None)
    loop.close()
    timer.cancel()
    assert not timer.is_pending


@pytest.mark.parametrize(("value", "seconds"), [(5, 5.0), (0.5, 0.5), (timedelta(minutes=1), 60.0)])
def test_numbers_and_timedeltas_are_seconds(value: float | timedelta, seconds: float) -> None:
    assert to_seconds(value) == seconds


@pytest.mark.parametrize("value", ["5", True, None])
def test_other_types_are_not_seconds(value: object) -> None:
    with pytest.raises(TypeError, match="seconds"):
        to_seconds(cast("float", value))
