"""A clock and an event loop that a test moves step by step, choosing what happens next."""

import asyncio
import heapq
import itertools
import math
from collections.abc import Collection, Coroutine
from typing import Any, TypeVar

from attrs import define, field

Value = TypeVar("Value")
_MOST_TURNS = 10_000


@define(eq=False)
class HandClock:
    """A `Clock` whose time a test sets.

    A `FakeClock` cannot take its place: it runs the loop until nothing real is in flight, where a test here
    chooses the number of iterations of the loop.
    """

    now: float = 0.0
    _sleepers: "list[tuple[float, int, asyncio.Future[None]]]" = field(init=False, factory=list)
    _numbers: "itertools.count[int]" = field(init=False, factory=itertools.count)

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        waking: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now + seconds, next(self._numbers), waking))
        await waking

    @property
    def next_at(self) -> float:
        """Return when the next sleeper wakes, infinity without one."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else math.inf

    def set(self, now: float) -> None:
        """Set the time and wake the sleepers that are due."""
        self.now = max(self.now, now)
        while self.next_at <= self.now:
            heapq.heappop(self._sleepers)[2].set_result(None)


@define(eq=False)
class Hand:
    """Runs an event loop of its own, and collects what its exception handler receives."""

    clock: HandClock = field(init=False, factory=HandClock)
    loop: asyncio.AbstractEventLoop = field(init=False, factory=asyncio.new_event_loop)
    complaints: list[dict[str, Any]] = field(init=False, factory=list)

    def __attrs_post_init__(self) -> None:
        self.loop.set_exception_handler(lambda _, context: self.complaints.append(context))

    def run(self, work: Coroutine[Any, Any, Value]) -> Value:
        """Run a coroutine to its end, without moving the time."""
        return self.loop.run_until_complete(work)

    @property
    def tasks(self) -> "set[asyncio.Task[Any]]":
        """Return the tasks that have not ended."""
        return asyncio.all_tasks(self.loop)

    def turn(self, count: int) -> None:
        """Run the loop for `count` iterations."""
        self.run(_turn(count))

    def settle(self) -> None:
        """Run the loop until nothing is left to do at the current time."""
        self.run(_turn_until_quiet(vars(self.loop)["_ready"]))

    def advance_to(self, end: float) -> None:
        """Move the time from sleeper to sleeper, settling before each step and at the end."""
        self.settle()
        while self.clock.next_at <= end:
            self.clock.set(self.clock.next_at)
            self.settle()
        self.clock.set(end)

    def close(self) -> None:
        """Cancel the tasks that are left and close the loop."""
        for task in self.tasks:
            task.cancel()
        self.settle()
        self.loop.close()


async def _turn(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def _turn_until_quiet(ready: Collection[asyncio.Handle]) -> None:
    for _ in range(_MOST_TURNS):
        await asyncio.sleep(0)
        if not ready:
            return
    raise AssertionError("the loop never settles")
