"""Time as the library sees it: a clock that can be injected, and timers that run on it."""

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Protocol

from attrs import define, field

Seconds = float | timedelta


class Clock(Protocol):
    """What pauses, gates, windows and timeouts run on.

    Both methods count in seconds; only differences between two readings mean anything.
    """

    def monotonic(self) -> float:
        """Give the reading of a clock that never goes back."""

    async def sleep(self, seconds: float) -> None:
        """Return once `seconds` have passed on this clock."""


class SystemClock:
    """The machine's monotonic clock."""

    monotonic = staticmethod(time.monotonic)

    async def sleep(self, seconds: float) -> None:
        """Sleep on the event loop."""
        await asyncio.sleep(seconds)


def to_seconds(value: Seconds) -> float:
    """Read a number of seconds or a `timedelta` as a float; TypeError for anything else."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"expected seconds as a number or a timedelta, not {type(value).__name__}")
    return float(value)


@define(eq=False, repr=False)
class Timer:
    """One callback waiting for its time; `cancel` forgets it at once."""

    when: float
    _callback: Callable[[], None] | None
    _timers: "Timers"

    @property
    def is_pending(self) -> bool:
        """Tell whether the callback is still to be called."""
        return self._callback is not None

    def cancel(self) -> None:
        """Drop the callback; harmless when it was called or dropped before."""
        if self._callback is not None:
            self._callback = None
            self._timers.dropped()

    def fire(self) -> None:
        """Call the callback, once."""
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()


@define(eq=False, repr=False)
class Timers:
    """Callbacks at times of one clock, all behind a single sleeping task.

    The task lives only while a timer is pending, and sleeps until the earliest one.
    """

    _clock: Clock
    _loop: asyncio.AbstractEventLoop
    _heap: list[tuple[float, int, Timer]] = field(init=False, factory=list)
    _numbers: "itertools.count[int]" = field(init=False, factory=itertools.count)
    _sleeper: "asyncio.Task[None] | None" = field(init=False, default=None)
    _sleeping_until: float = field(init=False, default=0.0)
    _dropped: int = field(init=False, default=0)  # since the heap was cleared
    _is_arming: bool = field(init=False, default=False)

    @property
    def is_over(self) -> bool:
        """Tell whether the event loop was closed: nothing will ever be called again."""
        return self._loop.is_closed()

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call `callback` once the clock reads `when`, from the event loop."""
        timer = Timer(when, callback, self)
        heapq.heappush(self._heap, (when, next(self._numbers), timer))
        self.changed()
        return timer

    def dropped(self) -> None:
        """Count a timer that will do nothing; once half of them may be such, these are cleared away."""
        self._dropped += 1
        self.changed()

    def changed(self) -> None:
        """See to the sleeping task once the running callback is through."""
        if not self._is_arming and not self.is_over:
            self._is_arming = True
            self._loop.call_soon(self._arm)

    def _arm(self) -> None:
        self._is_arming = False
        if self._dropped > len(self._heap) // 2:
            self._heap = [entry for entry in self._heap if entry[2].is_pending]
            heapq.heapify(self._heap)
            self._dropped = 0
        while self._heap and not self._heap[0][2].is_pending:
            heapq.heappop(self._heap)
        until = self._heap[0][0] if self._heap else None
        if self._sleeper is not None:
            if until == self._sleeping_until:
                return
            self._sleeper.cancel()
            self._sleeper = None
        if until is not None:
            self._sleeping_until = until
            self._sleeper = asyncio.Task(self._sleep(until), loop=self._loop)  # never eager, whatever the task factory

    async def _sleep(self, until: float) -> None:
        while (left := until - self._clock.monotonic()) > 0:
            await self._clock.sleep(left)
        self._sleeper = None
        self.changed()
        self._fire()

    def _fire(self) -> None:
        now = self._clock.monotonic()
        while self._heap and self._heap[0][0] <= now:
            heapq.heappop(self._heap)[2].fire()

    async def aclose(self) -> None:
        """Forget every timer and end the sleeping task."""
        self._heap.clear()
        sleeper, self._sleeper = self._sleeper, None
        if sleeper is not None:
            sleeper.cancel()
            await asyncio.wait({sleeper})
