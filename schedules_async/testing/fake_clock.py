"""A clock for tests that advances by itself while nothing is in flight, or only when advanced."""

import asyncio
import bisect
import math
import threading
import time
from collections.abc import Callable
from operator import itemgetter

from attrs import define, field, setters

from schedules_async._clock import Seconds, to_seconds

_IDLE_TICKS = 50  # iterations of the event loop without activity, each polling the sockets, until it counts as idle
_QUIET_TICKS = 5  # the same if the loop has nothing else to run in all of them
_QUIET_TICKS_TO_REST = 3
_TICKS_PER_REST = 25  # iterations between two rests, in which the kernel or a thread completes what it has under way
_TICKS_PER_CHECK = 5  # iterations between two checks of the busy sources; what is in flight lasts longer
_REST = 0.0002  # real seconds
_REST_BESIDE_THREADS = 0.001


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
    # The end of each sleep, in order; True for `advance`, which ends after the sleeps until the same time; its future.
    _sleeps: "list[tuple[float, bool, asyncio.Future[None]]]" = field(init=False, factory=list)
    _advancing: asyncio.Lock = field(init=False, factory=asyncio.Lock)
    _busy_sources: list[Callable[[], bool]] = field(init=False, factory=list)
    _handle: asyncio.Handle | None = field(init=False, default=None)  # of `_tick`, while there is a sleep to end
    _ticks: int = field(init=False, default=0)
    _idle_ticks: int = field(init=False, default=0)
    _quiet_ticks: int = field(init=False, default=0)

    @property
    def sleeping(self) -> int:
        """The number of sleeps that have not ended."""
        return sum(not is_advance for _, is_advance, _ in self._sleeps)

    def monotonic(self) -> float:
        """Return the fake time in seconds."""
        return self._now

    def add_busy(self, is_busy: Callable[[], bool]) -> None:
        """Stop the time while `is_busy()` is true; a `FakeSchedules` on this clock adds itself."""
        self._busy_sources.append(is_busy)

    async def sleep(self, seconds: float) -> None:
        """Sleep for `seconds` of fake time; zero or less only yields to other tasks once."""
        if math.isnan(seconds):
            raise ValueError("seconds must be a number, not NaN")
        self.pauses.append(seconds)
        if seconds > 0:
            await self._sleep_until(self._now + seconds)
        else:
            self._watch()
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
            await self._sleep_until(self._now + seconds, is_advance=True)

    async def _sleep_until(self, when: float, *, is_advance: bool = False) -> None:
        sleep = (when, is_advance, asyncio.get_running_loop().create_future())
        bisect.insort(self._sleeps, sleep, key=itemgetter(0, 1))
        self._watch()
        try:
            await sleep[2]
        finally:
            if sleep in self._sleeps:
                self._sleeps.remove(sleep)
            self._watch()

    def _watch(self) -> None:
        """Count the idle iterations of the event loop from now on, if there is a sleep to end."""
        self._idle_ticks = self._quiet_ticks = 0
        is_needed = any(is_advance or (self._is_automatic and when < math.inf) for when, is_advance, _ in self._sleeps)
        if is_needed and self._handle is None:
            self._ticks = 0
            self._handle = asyncio.get_running_loop().call_soon(self._tick)
        elif not is_needed and self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        self._handle = None
        self._ticks += 1
        self._idle_ticks += 1
        is_quiet = not getattr(loop, "_ready", True)  # no other callback is to run; uvloop does not show them
        self._quiet_ticks = self._quiet_ticks + 1 if is_quiet else 0
        is_idle = self._idle_ticks >= _IDLE_TICKS or self._quiet_ticks >= _QUIET_TICKS
        if (is_idle or self._ticks % _TICKS_PER_CHECK == 0) and any(is_busy() for is_busy in self._busy_sources):
            is_idle, self._idle_ticks, self._quiet_ticks = False, 0, 0
        if is_idle:
            self._jump()
            return
        self._handle = loop.call_soon(self._tick)
        if self._quiet_ticks == _QUIET_TICKS_TO_REST or self._ticks % _TICKS_PER_REST == 0:
            # Not by a timer of the event loop, whose time freezegun may have stopped.
            time.sleep(_REST if threading.active_count() == 1 else _REST_BESIDE_THREADS)

    def _jump(self) -> None:
        """Jump to the end of the earliest sleep, unless a sleep was cancelled in this iteration of the loop."""
        if not any(future.done() for _, _, future in self._sleeps):
            self._now, is_advance, _ = self._sleeps[0]
            while self._sleeps and self._sleeps[0][:2] == (self._now, is_advance):
                self._sleeps.pop(0)[2].set_result(None)
        self._watch()
