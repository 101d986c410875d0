"""Timers: callbacks at times of a clock, behind one sleeping task that comes back whatever happens to it."""

import asyncio
import contextvars
import math
import re
import time
from datetime import timedelta
from functools import partial
from typing import Any, cast

import pytest
from attrs import define, field
from event_loops import HastyLoop, turns

from schedules_async._clock import Clock, SystemClock, Timers, to_seconds
from schedules_async.testing import FakeClock

Failures = list[BaseException]


def make_timers(clock: Clock, failures: Failures | None = None) -> Timers:
    """Return timers of the running event loop; without a list, a failure of the clock is unexpected."""
    on_failure = _raise if failures is None else failures.append
    timers = Timers(clock, asyncio.get_running_loop(), contextvars.copy_context())
    timers.on_failure = on_failure
    return timers


def _raise(error: BaseException) -> None:
    raise AssertionError from error


class Abort(BaseException):
    """An exception of a caller's that is no Exception."""


@define
class FaultyClock:
    """A clock that advances by each sleep; what stands in the lists is raised, or read, one after the other."""

    now: float = 0.0
    sleeps: list[BaseException] = field(factory=list)
    readings: list[float | BaseException] = field(factory=list)

    def monotonic(self) -> float:
        reading = self.readings.pop(0) if self.readings else self.now
        if isinstance(reading, BaseException):
            raise reading
        return reading

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)
        if self.sleeps:
            raise self.sleeps.pop(0)
        self.now += seconds


async def test_callbacks_are_called_in_order_of_time(clock: FakeClock) -> None:
    timers, called = make_timers(clock), []

    def note(when: float) -> None:
        called.append((when, clock.monotonic()))

    for when in (3.0, 1.0, 2.0, 1.0):
        timers.call_at(when, partial(note, when))
    await clock.sleep(5)
    assert called == [(1.0, 1.0), (1.0, 1.0), (2.0, 2.0), (3.0, 3.0)]


async def test_sleep_ends_at_the_earliest_pending_timer(clock: FakeClock) -> None:
    """An earlier timer shortens the sleep, a cancelled one lengthens it, and without any there is none."""
    timers = make_timers(clock)
    late = timers.call_at(100, lambda: None)
    await turns(2)
    early = timers.call_at(10, lambda: None)
    await turns(2)
    early.cancel()
    await turns(2)
    assert clock.pauses == [100, 10, 100]
    assert late.callback is not None
    late.cancel()
    late.cancel()
    await turns(2)
    assert clock.sleeping == 0
    assert late.callback is None


async def test_timers_set_in_one_callback_cost_one_sleep(clock: FakeClock) -> None:
    timers = make_timers(clock)
    for when in range(100, 0, -1):
        timers.call_at(when, lambda: None)
    await turns(3)
    assert clock.pauses == [1]
    await timers.aclose()


async def test_timer_set_by_a_callback_is_called(clock: FakeClock) -> None:
    timers, called = make_timers(clock), []

    def again() -> None:
        called.append(clock.monotonic())
        if len(called) < 3:
            timers.call_at(clock.monotonic() + 1, again)

    timers.call_at(1, again)
    await clock.sleep(10)
    assert called == [1, 2, 3]


async def test_timer_at_infinity_is_never_called(clock: FakeClock) -> None:
    timers = make_timers(clock)
    timers.call_at(math.inf, lambda: None)
    await turns(3)
    assert clock.pauses == []
    await timers.aclose()


async def test_cancelled_timers_do_not_accumulate(clock: FakeClock) -> None:
    """As the timeouts of waits that end long before."""
    timers, called = make_timers(clock), list[int]()
    timers.call_at(5000, lambda: called.append(1))
    for number in range(1000):
        timers.call_at(3600 + number, lambda: called.append(0)).cancel()
        await asyncio.sleep(0)
    assert len(timers._heap) < 10
    await clock.sleep(6000)
    assert called == [1]


async def test_closed_timers_start_no_task(clock: FakeClock) -> None:
    """Whatever is cancelled or added afterwards."""
    timers = make_timers(clock)
    first, _ = (timers.call_at(when, lambda: None) for when in (10, 20))
    await asyncio.sleep(0)
    await timers.aclose()
    first.cancel()
    timers.call_at(5, lambda: None)
    await turns(3)
    assert clock.sleeping == 0


async def test_closed_timers_call_nothing(clock: FakeClock) -> None:
    timers, called = make_timers(clock), []
    timers.call_at(1, lambda: called.append(1))
    await turns(2)
    await timers.aclose()
    await timers.aclose()
    await clock.sleep(5)
    assert called == []


async def test_clock_that_wakes_early_sleeps_again() -> None:
    class Hasty(FaultyClock):
        async def sleep(self, seconds: float) -> None:
            await super().sleep(min(seconds, 0.4))

    clock = Hasty()
    timers, rung = make_timers(clock), asyncio.Event()
    timers.call_at(1.0, rung.set)
    await rung.wait()
    assert clock.now >= 1


@pytest.mark.parametrize("times", [1, 5])
async def test_cancelled_sleep_starts_again(clock: FakeClock, times: int) -> None:
    """As by a framework that cancels all tasks of the loop; it is no failure of the clock."""
    timers, called = make_timers(clock), []
    timers.call_at(10, lambda: called.append(clock.monotonic()))
    for _ in range(times):
        while not clock.sleeping:
            await turns(1)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await turns(2)
    while not clock.sleeping:
        await turns(1)
    await clock.sleep(20)
    assert called == [10]


@pytest.mark.parametrize("error", [OSError("hiccup"), asyncio.CancelledError()])
async def test_sleep_that_raises_once_starts_again(error: BaseException) -> None:
    timers, rung = make_timers(FaultyClock(sleeps=[error])), asyncio.Event()
    timers.call_at(1.0, rung.set)
    await rung.wait()


async def test_sleep_that_succeeds_forgets_earlier_failures() -> None:
    """Two failures in a row are one too many, two with a success between them are not."""
    clock = FaultyClock()
    timers = make_timers(clock)
    for when in (1.0, 2.0, 3.0):
        rung = asyncio.Event()
        clock.sleeps.append(OSError("hiccup"))
        timers.call_at(when, rung.set)
        await rung.wait()


@pytest.mark.parametrize(
    "clock",
    [
        FaultyClock(sleeps=[OSError("first"), OSError("second")]),
        FaultyClock(sleeps=[asyncio.CancelledError(), asyncio.CancelledError()]),
        FaultyClock(sleeps=[Abort("first"), Abort("second")]),
        FaultyClock(sleeps=[GeneratorExit("first"), GeneratorExit("second")]),
    ],
    ids=["raised", "cancelled", "aborted", "exited"],
)
async def test_sleep_that_raises_twice_is_reported(clock: FaultyClock) -> None:
    failures: Failures = []
    timers = make_timers(clock, failures)
    timers.call_at(1.0, lambda: None)
    while not failures:
        await turns(1)
    await timers.aclose()
    assert len(failures) == 1
    assert str(failures[0]) in ("second", "the clock's sleep raised CancelledError")


class Stuck(FaultyClock):
    """A clock whose sleeps end at once, and which does not advance."""

    async def sleep(self, seconds: float) -> None:
        del seconds


def test_clock_that_does_not_advance_is_reported() -> None:
    """After more than a second of the event loop: a coarse clock stands still for shorter."""
    with asyncio.Runner(loop_factory=HastyLoop) as runner:
        runner.run(_sleep_on_stuck_clock())


async def _sleep_on_stuck_clock() -> None:
    failures: Failures = []
    timers = make_timers(Stuck(), failures)
    timers.call_at(1.0, lambda: None)
    await turns(20)
    assert not failures
    vars(asyncio.get_running_loop())["ahead"] = 1.5
    await turns(5)
    assert "did not advance" in str(failures[0])
    await timers.aclose()


async def test_reading_that_fails_after_sleeps_is_reported() -> None:
    """Not as a clock that did not advance."""
    failures: Failures = []
    timers = make_timers(FaultyClock(readings=[0.0, 0.0, OSError("first"), OSError("second")]), failures)
    timers.call_at(1.0, lambda: None)
    while not failures:
        await turns(1)
    await timers.aclose()
    assert [str(failure) for failure in failures] == ["second"]


async def test_reading_that_steps_back_is_ignored() -> None:
    timers = make_timers(FaultyClock(readings=[100.0, 105.0, 50.0, 51.0, 52.5]))
    assert [timers.now() for _ in range(4)] == [105.0, 105.0, 106.0, 107.5]


@pytest.mark.parametrize(
    "reading",
    [
        *(OSError("down"), asyncio.CancelledError(), Abort("down"), GeneratorExit("down")),
        *(math.nan, math.inf, 1e12, -1e12, 1e300),
    ],
)
async def test_failed_reading_is_the_one_before(reading: float | BaseException) -> None:
    failures: Failures = []
    timers = make_timers(FaultyClock(readings=[100.0, 105.0, reading, reading, 106.0]), failures)
    assert [timers.now() for _ in range(4)] == [105.0, 105.0, 105.0, 106.0]
    await turns(2)
    assert len(failures) == 1


async def test_callback_that_raises_leaves_the_others_alone(clock: FakeClock) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    timers, called = make_timers(clock), list[int]()
    timers.call_at(1, list[None]().pop)
    for when in (1, 2):
        timers.call_at(when, partial(called.append, when))
    await clock.sleep(3)
    assert called == [1, 2]
    assert [type(complaint["exception"]) for complaint in complaints] == [IndexError]


async def test_callbacks_run_in_the_given_context(clock: FakeClock) -> None:
    caller: contextvars.ContextVar[str] = contextvars.ContextVar("caller", default="session")
    timers, callers = make_timers(clock), list[str]()
    caller.set("request")
    timers.call_at(1, lambda: callers.append(caller.get()))
    await clock.sleep(2)
    assert callers == ["session"]


async def test_system_clock_counts_seconds() -> None:
    clock = SystemClock()
    before = clock.monotonic()
    await clock.sleep(0.01)
    assert clock.monotonic() - before >= 0.009
    assert abs(clock.monotonic() - time.monotonic()) < 60


def test_timer_of_a_closed_loop_can_be_cancelled() -> None:
    loop = asyncio.new_event_loop()
    timer = Timers(SystemClock(), loop, contextvars.copy_context()).call_at(1, lambda: None)
    loop.close()
    timer.cancel()
    assert timer.callback is None


@pytest.mark.parametrize(("value", "seconds"), [(5, 5.0), (0.5, 0.5), (timedelta(minutes=1), 60.0)])
def test_seconds_are_numbers_or_timedeltas(value: float | timedelta, seconds: float) -> None:
    assert to_seconds(value) == seconds


@pytest.mark.parametrize("value", ["5", True, None])
def test_seconds_of_another_type_raise_type_error(value: object) -> None:
    with pytest.raises(TypeError, match="seconds"):
        to_seconds(cast("float", value))


def test_seconds_too_large_for_floats_are_an_error() -> None:
    with pytest.raises(ValueError, match="too large"):
        to_seconds(10**400)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
async def test_interrupted_reading_raises_and_is_no_failure(error: type[BaseException]) -> None:
    timers = make_timers(FaultyClock(readings=[100.0, error(), error(), 101.0]))
    for _ in range(2):
        with pytest.raises(error):
            timers.now()
    assert timers.now() == 101.0


@pytest.mark.parametrize("error", [asyncio.CancelledError, GeneratorExit])
async def test_first_reading_raising_cancellation_is_runtime_error(error: type[BaseException]) -> None:
    with pytest.raises(RuntimeError, match=f"the clock raised {error.__name__}"):
        make_timers(FaultyClock(readings=[error()]))


@pytest.mark.parametrize("reading", [math.nan, math.inf, 1e12, -1e300])
async def test_first_reading_without_resolution_is_value_error(reading: float) -> None:
    """Else the time of the session could stand still for ever."""
    with pytest.raises(ValueError, match=f"the clock's reading is {re.escape(str(reading))}"):
        make_timers(FaultyClock(readings=[reading]))


@pytest.mark.parametrize("reading", [9e11, -9e11])
async def test_reading_of_many_years_is_valid(reading: float) -> None:
    assert make_timers(FaultyClock(now=reading)).now() == reading
