"""A clock for tests that advances by itself while nothing is in flight, or only when advanced."""

import asyncio
import bisect
import math
import threading
import time
from collections.abc import Callable
from functools import partial

from attrs import define, field, setters

from schedules_async._clock import Seconds, to_seconds

_IDLE_TICKS = 50  # iterations of the event loop without activity, each polling the sockets, until it counts as idle
_QUIET_TICKS = 5  # the same if the loop has nothing else to run in all of them
_QUIET_TICKS_TO_REST = 3
_TICKS_PER_REST = 25  # iterations between two rests, in which the kernel or a thread completes what it has under way
_TICKS_PER_CHECK = 5  # iterations between two checks of the busy sources; what is in flight lasts longer
_REST = 0.0002  # real seconds
_REST_BESIDE_THREADS = 0.001


def _resolve(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def _is_quiet(loop: asyncio.AbstractEventLoop) -> bool:
    """True if the loop has no other callback to run; False for a loop that does not show them, such as uvloop's."""
    return not getattr(loop, "_ready", True)


def _rest() -> None:
    """Sleep, but not by a timer of the event loop, whose time freezegun may have stopped."""
    time.sleep(_REST if threading.active_count() == 1 else _REST_BESIDE_THREADS)


@define(eq=False)
class _IdleMonitor:
    """Calls a function once the event loop has been idle; holds a handle only between start and call."""

    busy_sources: list[Callable[[], bool]] = field(init=False, factory=list)
    _on_idle: Callable[[], None] = field(init=False)
    _handle: asyncio.Handle | None = field(init=False, default=None)
    _ticks: int = field(init=False, default=0)
    _idle_ticks: int = field(init=False, default=0)
    _quiet_ticks: int = field(init=False, default=0)

    def start(self, on_idle: Callable[[], None]) -> None:
        """Start or restart the count of idle iterations; `on_idle` is called at its end."""
        self._on_idle = on_idle
        self.restart()
        if self._handle is None:
            self._ticks = 0
            self._handle = asyncio.get_running_loop().call_soon(self._tick)

    def restart(self) -> None:
        """Restart the count if one is under way."""
        self._idle_ticks = self._quiet_ticks = 0

    def stop(self) -> None:
        """Cancel the count; the function is not called."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _tick(self) -> None:
        self._handle = None
        loop = asyncio.get_running_loop()
        self._ticks += 1
        self._idle_ticks += 1
        self._quiet_ticks = self._quiet_ticks + 1 if _is_quiet(loop) else 0
        is_idle = self._idle_ticks >= _IDLE_TICKS or self._quiet_ticks >= _QUIET_TICKS
        if (is_idle or self._ticks % _TICKS_PER_CHECK == 0) and any(is_busy() for is_busy in self.busy_sources):
            is_idle = False
            self.restart()
        if is_idle:
            self._on_idle()
        else:
            self._handle = loop.call_soon(self._tick)
            if self._quiet_ticks == _QUIET_TICKS_TO_REST or self._ticks % _TICKS_PER_REST == 0:
                _rest()


@define(eq=False)
class _Sleeper:
    when: float
    future: "asyncio.Future[None]"


def _when(sleeper: _Sleeper) -> float:
    return sleeper.when


@define(eq=False, on_setattr=setters.NO_OP)
class FakeClock:
    """A `Clock` whose sleeps take no real time, while connections on the loopback stay real.

    The time stands still while anything is in flight. Otherwise, with `auto` (the default), it jumps to the end of the
    earliest sleep; with `auto=False` it moves only by `advance`. Sleeps end in the order of their end times, equal
    ones in the order in which they began. `start` is the initial time, in seconds. `pauses` lists the seconds of
    every sleep in order, including those of a server on the same clock. The clock needs no real time, so it also
    works while freezegun or time-machine has stopped it.
    """

    _now: float = field(default=0.0, alias="start", converter=to_seconds)
    _is_automatic: bool = field(default=True, alias="auto", kw_only=True)
    pauses: list[float] = field(init=False, factory=list)
    _sleepers: list[_Sleeper] = field(init=False, factory=list)
    _monitor: _IdleMonitor = field(init=False, factory=_IdleMonitor)
    _advancing: asyncio.Lock = field(init=False, factory=asyncio.Lock)

    @property
    def sleeping(self) -> int:
        """The number of sleeps that have not ended."""
        return len(self._sleepers)

    def monotonic(self) -> float:
        """Return the fake time in seconds."""
        return self._now

    def add_busy(self, is_busy: Callable[[], bool]) -> None:
        """Stop the time while `is_busy()` is true; a `FakeSchedules` on this clock adds itself."""
        self._monitor.busy_sources.append(is_busy)

    async def sleep(self, seconds: float) -> None:
        """Sleep for `seconds` of fake time; zero or less only yields to other tasks once."""
        if math.isnan(seconds):
            raise ValueError("seconds must be a number, not NaN")
        self.pauses.append(seconds)
        if seconds > 0:
            await self._sleep_until(self._now + seconds)
        else:
            self._monitor.restart()
            await asyncio.sleep(0)

    async def advance(self, seconds: Seconds) -> None:
        """Advance a clock made with `auto=False` by `seconds`, stopping at the end of each sleep on the way.

        Everything in flight completes before each step and before the return; concurrent calls add up. Raise
        ValueError if the clock is automatic, or if `seconds` is negative or not finite.
        """
        if self._is_automatic:
            raise ValueError("an automatic clock advances by itself: only one made with auto=False can be advanced")
        seconds = to_seconds(seconds)
        if not 0 <= seconds < math.inf:
            raise ValueError(f"seconds must be finite and not negative, not {seconds}")
        async with self._advancing:
            await self._advance_to(self._now + seconds)

    async def _advance_to(self, end: float) -> None:
        await self._wait_until_idle()
        while (earliest := self._earliest()) <= end:
            self._move_to(earliest)
            await self._wait_until_idle()
        self._now = end

    async def _wait_until_idle(self) -> None:
        idle = asyncio.get_running_loop().create_future()
        self._monitor.start(partial(_resolve, idle))
        try:
            await idle
        finally:
            self._monitor.stop()

    async def _sleep_until(self, when: float) -> None:
        sleeper = _Sleeper(when, asyncio.get_running_loop().create_future())
        bisect.insort(self._sleepers, sleeper, key=_when)
        self._monitor_if_automatic()
        try:
            await sleeper.future
        finally:
            self._remove(sleeper)

    def _monitor_if_automatic(self) -> None:
        if self._is_automatic and self._earliest() < math.inf:
            self._monitor.start(self._jump)
        else:
            self._monitor.restart()

    def _remove(self, sleeper: _Sleeper) -> None:
        if sleeper in self._sleepers:
            self._sleepers.remove(sleeper)
        self._monitor.restart()
        if self._is_automatic and self._earliest() == math.inf:
            self._monitor.stop()

    def _jump(self) -> None:
        """Jump to the end of the earliest sleep, unless a sleep was cancelled in this iteration of the loop."""
        count = len(self._sleepers)
        earliest = self._earliest()
        if len(self._sleepers) == count:
            self._move_to(earliest)
        self._monitor_if_automatic()

    def _earliest(self) -> float:
        """Return the end time of the earliest sleep that was not cancelled, or infinity."""
        self._sleepers = [sleeper for sleeper in self._sleepers if not sleeper.future.done()]
        return self._sleepers[0].when if self._sleepers else math.inf

    def _move_to(self, when: float) -> None:
        self._now = when
        while self._sleepers and self._sleepers[0].when <= when:
            _resolve(self._sleepers.pop(0).future)
