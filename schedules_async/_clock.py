"""An injectable clock, and the timers of a session, which run on it."""

import asyncio
import contextvars
import heapq
import itertools
import math
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Protocol

from attrs import define, field

Seconds = float | timedelta
_END_OF_TIME = 1e12  # seconds, 31,000 years; floats beyond resolve time too coarsely
_RESTART_DELAY = 0.01  # seconds of the event loop
_LONGEST_TICK = 1.0  # seconds of the event loop in which a clock has to advance; Windows' ticks every 0.016 s


class Clock(Protocol):
    """The clock of intervals, throttling, rate limits and the timeouts of waits.

    Both methods count in seconds; only the difference of two readings has meaning.
    """

    def monotonic(self) -> float:
        """Return the reading of a clock that never goes backwards."""

    async def sleep(self, seconds: float) -> None:
        """Return once `seconds` have passed on this clock."""


class SystemClock:
    """The system's monotonic clock."""

    monotonic = staticmethod(time.monotonic)

    async def sleep(self, seconds: float) -> None:
        """Sleep on the event loop."""
        await asyncio.sleep(seconds)


def to_clock(clock: Clock | None) -> Clock:
    """Return the clock, the system's for None; raise TypeError for anything that is not a clock."""
    if clock is None:
        return SystemClock()
    methods = (getattr(clock, name, None) for name in ("monotonic", "sleep"))
    if isinstance(clock, type) or not all(map(callable, methods)):
        raise TypeError(f"clock must be an object with monotonic and sleep, not {type(clock).__name__}")
    return clock


def to_seconds(value: Seconds) -> float:
    """Return seconds as a float; raise TypeError for anything but a number or `timedelta`, ValueError if too large.

    >>> to_seconds(timedelta(minutes=1))
    60.0
    """
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"expected seconds as a number or a timedelta, not {type(value).__name__}")
    try:
        return float(value)
    except OverflowError:
        raise ValueError("a number of seconds is too large for a float") from None


def _check_reading(reading: float) -> float:
    """Return the reading of a clock; raise ValueError for NaN, and for one that is too large to resolve time."""
    seconds = float(reading)
    if not abs(seconds) < _END_OF_TIME:
        raise ValueError(f"the clock's reading is {reading}, and not below {_END_OF_TIME:g} seconds")
    return seconds


@define(eq=False, repr=False)
class Timer:
    """One callback in a queue, to be called once unless it is cancelled."""

    when: float
    callback: Callable[[], None] | None  # None once called or cancelled
    _queue: "TimerQueue"

    def cancel(self) -> None:
        """Cancel the callback; do nothing if it was called or cancelled before."""
        if self.callback is not None:
            self.callback = None
            self._queue.on_cancel(self)


@define(eq=False, repr=False)
class TimerQueue:
    """Timers by ascending `when`, first in, first out for equal ones; cancelled ones are removed lazily."""

    _heap: list[tuple[float, int, Timer]] = field(init=False, factory=list)
    _numbers: "itertools.count[int]" = field(init=False, factory=itertools.count)
    pending: int = field(init=False, default=0)  # number of timers that were neither called nor cancelled

    def add(self, when: float, callback: Callable[[], None]) -> Timer:
        """Return a new timer, which is in the queue."""
        timer = Timer(when, callback, self)
        self.pending += 1
        heapq.heappush(self._heap, (when, next(self._numbers), timer))
        return timer

    def first(self) -> Timer | None:
        """Return the earliest pending timer, None if there is none."""
        while self._heap:
            timer = self._heap[0][2]
            if timer.callback is not None:
                return timer
            heapq.heappop(self._heap)
        return None

    def pop(self) -> Callable[[], None]:
        """Remove the earliest pending timer; return its callback, which is to be called now."""
        callback = None
        while callback is None:
            timer = heapq.heappop(self._heap)[2]
            callback, timer.callback = timer.callback, None
        self.pending -= 1
        return callback

    def on_cancel(self, _: Timer) -> None:
        """Count a cancelled timer; remove all such timers once they are more than half."""
        self.pending -= 1
        if self.pending < len(self._heap) // 2:
            self._heap = [entry for entry in self._heap if entry[2].callback is not None]
            heapq.heapify(self._heap)


@define(eq=False, repr=False)
class Timers(TimerQueue):
    """The timers of one session on its injected clock, all served by a single sleeping task.

    The task lives only while a timer is pending, sleeps until the earliest one, and runs in `context`. If it is
    cancelled from outside, or the clock raises once, it starts again. If the clock raises a second time before a
    sleep has succeeded, `on_failure` is called with the exception.
    """

    _clock: Clock
    _loop: asyncio.AbstractEventLoop
    _context: contextvars.Context
    on_failure: Callable[[BaseException], None] = field(init=False)
    now: Callable[[], float] = field(init=False)  # the time of the session
    _last: float = field(init=False)  # the last reading of the clock
    _offset: float = field(init=False, default=0.0)
    _sleeper: "asyncio.Task[None] | None" = field(init=False, default=None)
    _sleeps_until: float = field(init=False, default=math.inf)
    _arming: asyncio.Handle | None = field(init=False, default=None)
    _failures: int = field(init=False, default=0)  # failures of the clock in a row

    def __attrs_post_init__(self) -> None:
        try:
            self._last = _check_reading(self._clock.monotonic())
        except (asyncio.CancelledError, GeneratorExit) as error:
            raise RuntimeError(f"the clock raised {type(error).__name__}") from error
        self.now = time.monotonic if type(self._clock) is SystemClock else self._read

    def _read(self) -> float:
        """Return the clock's reading without its steps backwards; if the clock fails, return its last reading."""
        try:
            reading = float(self._clock.monotonic())
            if not abs(reading) < _END_OF_TIME:  # asked here too, to save the call: a poll reads the clock often
                _check_reading(reading)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a CancelledError too: a reading awaits nothing, so nobody has cancelled it
            self._fail(error)
            return self._last + self._offset
        if reading < self._last:
            self._offset += self._last - reading
        self._last = reading
        return reading + self._offset

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call `callback` on the event loop once the clock reads `when`; infinity is never."""
        timer = self.add(when, callback)
        if when < self._sleeps_until:
            self._arm_soon()
        return timer

    def on_cancel(self, timer: Timer) -> None:
        """Count a cancelled timer; sleep for another one if this was the earliest."""
        super().on_cancel(timer)
        if timer.when <= self._sleeps_until:
            self._arm_soon()

    def _arm_soon(self) -> None:
        """Adjust the sleeping task once the running callback has returned."""
        if self._arming is None and not self._loop.is_closed():
            self._arming = self._loop.call_soon(self._arm, context=self._context)

    def _arm(self) -> None:
        self._arming = None
        first = self.first()
        until = math.inf if first is None else first.when
        if self._sleeper is not None:
            if until == self._sleeps_until:
                return
            sleeper, self._sleeper = self._sleeper, None
            sleeper.cancel()
        self._sleeps_until = until
        if until < math.inf:
            self._sleeper = asyncio.Task(self._sleep(), loop=self._loop, context=self._context)
            self._sleeper.add_done_callback(self._on_sleeper_done, context=self._context)

    async def _sleep(self) -> None:
        advanced_at = self._loop.time()
        while self._sleeps_until < math.inf:
            before, failures = self.now(), self._failures
            if before < self._sleeps_until:
                await self._clock.sleep(self._sleeps_until - before)
                now = self.now()
                if now != before or self._failures > failures:  # after a failure `now` is the last good reading
                    advanced_at = self._loop.time()
                elif self._loop.time() - advanced_at > _LONGEST_TICK:
                    self._fail(RuntimeError("the clock did not advance while it slept"))
                if now < self._sleeps_until:
                    await asyncio.sleep(0)  # a clock that does not advance must not block the event loop
                    continue
                self._failures = 0
            self._call_due()
            first = self.first()
            self._sleeps_until = math.inf if first is None else first.when

    def _call_due(self) -> None:
        """Call every timer that is due."""
        now = self.now()
        while (timer := self.first()) is not None and timer.when <= now:
            try:
                self.pop()()
            except Exception as error:
                context = {"message": "a timer of a schedules_async session raised", "exception": error}
                self._loop.call_exception_handler(context)

    def _on_sleeper_done(self, task: "asyncio.Task[None]") -> None:
        """Start again when the task was cancelled from outside, or the clock raised."""
        if task is not self._sleeper:
            return  # replaced, or closed
        self._sleeper, self._sleeps_until = None, math.inf
        if not task.cancelled():
            if (error := task.exception()) is not None:
                self._fail(error)
        elif not task.cancelling():
            self._fail(RuntimeError("the clock's sleep raised CancelledError"))
        if self.first() is not None and self._arming is None and not self._loop.is_closed():
            # Not at once: the event loop may be shutting down, and would find a pending task.
            self._arming = self._loop.call_later(_RESTART_DELAY, self._arm, context=self._context)

    def _fail(self, error: BaseException) -> None:
        self._failures += 1
        if self._failures > 1 and not self._loop.is_closed():
            self._loop.call_soon(self.on_failure, error, context=self._context)

    async def aclose(self) -> None:
        """Cancel the sleeping task and wait for its end; no timer is called any more."""
        self._sleeps_until = -math.inf  # so that no later timer wakes it
        if self._arming is not None:
            self._arming.cancel()
        sleeper, self._sleeper = self._sleeper, None
        if sleeper is not None:
            sleeper.cancel()
            await asyncio.wait({sleeper})
