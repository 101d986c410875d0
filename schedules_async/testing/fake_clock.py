"""A clock for tests: it jumps by itself once nothing is in flight, or moves when it is told to."""

import asyncio
import bisect
import math
from collections.abc import Callable
from functools import partial

from attrs import define, field

_QUIET_TICKS = 100  # turns of the event loop without news, each polling the sockets, until it counts as quiet
_TICKS_PER_PAUSE = 50  # after as many turns the process rests, for what the kernel or a thread has under way
_PAUSE = 0.001  # real seconds


def _resolve(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def _never() -> None:
    """Stand for the callback of a watch that nobody started."""


@define(eq=False)
class _QuietWatch:
    """Calls back once, when the event loop has been quiet; holds no handle before and after."""

    busy_sources: list[Callable[[], bool]] = field(init=False, factory=list)
    _on_quiet: Callable[[], None] = field(init=False, default=_never)
    _handle: asyncio.Handle | None = field(init=False, default=None)
    _ticks: int = field(init=False, default=0)
    _quiet_ticks: int = field(init=False, default=0)

    def start(self, on_quiet: Callable[[], None]) -> None:
        """Start to count, or start over, and call `on_quiet` in the end."""
        self._on_quiet = on_quiet
        self._quiet_ticks = 0
        if self._handle is None:
            self._ticks = 0
            self._handle = asyncio.get_running_loop().call_soon(self._tick)

    def start_over(self) -> None:
        """Start over where a count is under way."""
        self._quiet_ticks = 0

    def stop(self) -> None:
        """Forget the count and the callback."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _tick(self) -> None:
        self._handle = None
        self._ticks += 1
        is_busy = any(is_busy() for is_busy in self.busy_sources)
        self._quiet_ticks = 0 if is_busy else self._quiet_ticks + 1
        if self._quiet_ticks == _QUIET_TICKS:
            self._on_quiet()
        else:
            self._handle = self._call_later()

    def _call_later(self) -> asyncio.Handle:
        loop = asyncio.get_running_loop()
        if self._ticks % _TICKS_PER_PAUSE == 0:
            return loop.call_later(_PAUSE, self._tick)
        return loop.call_soon(self._tick)


@define(eq=False)
class _Sleeper:
    when: float
    future: "asyncio.Future[None]"


def _when(sleeper: _Sleeper) -> float:
    return sleeper.when


@define(eq=False)
class FakeClock:
    """A `Clock` whose seconds pass without waiting, while sockets on the loopback stay real.

    Time stands still while anything is in flight. With `auto` (the default) it then jumps to the earliest
    sleeper; with `auto=False` it moves by `advance` alone. Sleepers wake in order of their times, equal
    times in order of asking. `start` is the first reading, in seconds; `pauses` lists the seconds of every
    sleep asked for, in order, those of a server on the same clock included.
    """

    _now: float = field(default=0.0, alias="start", converter=float)
    _is_automatic: bool = field(default=True, alias="auto", kw_only=True)
    pauses: list[float] = field(init=False, factory=list)
    _sleepers: list[_Sleeper] = field(init=False, factory=list)
    _watch: _QuietWatch = field(init=False, factory=_QuietWatch)
    _advancing: asyncio.Lock = field(init=False, factory=asyncio.Lock)

    @property
    def sleeping(self) -> int:
        """Count the sleeps that have not ended."""
        return len(self._sleepers)

    def monotonic(self) -> float:
        """Give the fake time in seconds."""
        return self._now

    def add_busy(self, is_busy: Callable[[], bool]) -> None:
        """Let time stand still while `is_busy()` is true; a `FakeSchedules` on this clock adds itself."""
        self._watch.busy_sources.append(is_busy)

    async def sleep(self, seconds: float) -> None:
        """Return once the fake time has moved by `seconds`; zero or less lets others run once."""
        if math.isnan(seconds):
            raise ValueError("a sleep needs a number of seconds, not NaN")
        self.pauses.append(seconds)
        if seconds > 0:
            await self._sleep_until(self._now + seconds)
        else:
            self._watch.start_over()
            await asyncio.sleep(0)

    async def advance(self, seconds: float) -> None:
        """Move a clock made with `auto=False` by `seconds`, from sleeper to sleeper.

        Whatever is in flight ends before each step and before the return; advances called together add up.
        An automatic clock, and seconds that are negative or not finite, are a ValueError.
        """
        if self._is_automatic:
            raise ValueError("an automatic clock moves by itself: make it with auto=False to advance it")
        if not 0 <= seconds < math.inf:
            raise ValueError(f"a clock advances by a finite time and never back, not by {seconds}")
        async with self._advancing:
            await self._advance_to(self._now + seconds)

    async def _advance_to(self, end: float) -> None:
        await self._settle()
        while (earliest := self._earliest()) <= end:
            self._move_to(earliest)
            await self._settle()
        self._now = end

    async def _settle(self) -> None:
        quiet = asyncio.get_running_loop().create_future()
        self._watch.start(partial(_resolve, quiet))
        try:
            await quiet
        finally:
            self._watch.stop()

    async def _sleep_until(self, when: float) -> None:
        sleeper = _Sleeper(when, asyncio.get_running_loop().create_future())
        bisect.insort(self._sleepers, sleeper, key=_when)
        self._watch_if_automatic()
        try:
            await sleeper.future
        finally:
            self._leave(sleeper)

    def _watch_if_automatic(self) -> None:
        if self._is_automatic and self._earliest() < math.inf:
            self._watch.start(self._jump)
        else:
            self._watch.start_over()

    def _leave(self, sleeper: _Sleeper) -> None:
        if sleeper in self._sleepers:
            self._sleepers.remove(sleeper)
        self._watch.start_over()
        if self._is_automatic and self._earliest() == math.inf:
            self._watch.stop()

    def _jump(self) -> None:
        """Move to the earliest sleeper, unless somebody was cancelled in this very turn."""
        asked = len(self._sleepers)
        earliest = self._earliest()
        if len(self._sleepers) == asked:
            self._move_to(earliest)
        self._watch_if_automatic()

    def _earliest(self) -> float:
        """Give the time of the next sleeper that was not cancelled, infinity without one."""
        self._sleepers = [sleeper for sleeper in self._sleepers if not sleeper.future.done()]
        return self._sleepers[0].when if self._sleepers else math.inf

    def _move_to(self, when: float) -> None:
        self._now = when
        while self._sleepers and self._sleepers[0].when <= when:
            _resolve(self._sleepers.pop(0).future)
