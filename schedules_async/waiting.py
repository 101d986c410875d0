"""Waiters: what `wait_for_operation` gives, to be awaited, run as a task, or iterated over.

A waiter does nothing until it is used. Each use (one await, or one iterator) reads the operation's watch
through a subscription of its own, and leaves it when it ends, is cancelled, or is dropped.
"""

import asyncio
import math
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Generator
from typing import Any, Never, TypeVar

from attrs import define, field, frozen

from schedules_async.base_errors import own_copy
from schedules_async.clock import Clock, Seconds, Timer, Timers, to_seconds
from schedules_async.errors import OperationFailedError, OperationStalledError, OperationTimeoutError
from schedules_async.looking import COPIED
from schedules_async.models import Operation
from schedules_async.polling import PollingPolicy, TimeRemaining
from schedules_async.refs import OperationRef
from schedules_async.watching import Ending, Subscription, Watch, Watches

Result = TypeVar("Result")


def to_timeout(name: str, value: Seconds | None) -> float:
    """Read a timeout, None as infinity; ValueError unless it is a number and not negative."""
    seconds = math.inf if value is None else to_seconds(value)
    if math.isnan(seconds) or seconds < 0:
        raise ValueError(f"{name} must not be below 0, and is {seconds}")
    return seconds


@frozen
class WaitOptions:
    """How one wait differs from another; timeouts in seconds, infinity for none."""

    timeout: float
    stall_timeout: float
    check: bool
    polling: PollingPolicy


@frozen(eq=False)
class Surroundings:
    """What a session lends to its waits."""

    watches: Watches
    timers: Timers
    clock: Clock


class Reawaitable(Coroutine[Any, Any, Result]):
    """A coroutine that may be awaited again and again, and run by several tasks at once.

    `asyncio.create_task` refuses an object that only has `__await__`. Each task drives a coroutine of its own,
    made when it begins: an object that is dropped unused warns of nothing.
    """

    def __init__(self, begin: Callable[[], Coroutine[Any, Any, Result]]) -> None:
        self._begin = begin
        self._driven: dict[asyncio.Task[Any] | None, Coroutine[Any, Any, Result]] = {}

    def __await__(self) -> Generator[Any, None, Result]:
        return self._begin().__await__()

    def send(self, value: Any) -> Any:
        """Drive the running task's coroutine."""
        return self._drive("send", value)

    def throw(self, *error: Any) -> Any:
        """Throw an error into the running task's coroutine."""
        return self._drive("throw", *error)

    def close(self) -> None:
        """Drop what tasks that are given up have begun."""
        while self._driven:
            self._driven.popitem()[1].close()

    def _drive(self, method: str, *arguments: Any) -> Any:
        task = asyncio.current_task()
        coroutine = self._driven.pop(task, None) or self._begin()
        result = getattr(coroutine, method)(*arguments)
        self._driven[task] = coroutine
        return result


class OperationWaiter(Reawaitable[Operation], AsyncIterable[Operation]):
    """A wait for one operation: await it for the final snapshot, or iterate over its changes.

    It is a coroutine too, for `create_task`, `TaskGroup`, `gather` and `wait_for`. Making one sends nothing;
    a second await gives the remembered outcome. Cancelling a wait never touches the operation.
    """

    def __init__(self, wait: "Wait") -> None:
        super().__init__(wait.final)
        self._wait = wait

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.ref} {self.latest.raw_status if self.latest else 'not seen yet'}>"

    @property
    def ref(self) -> OperationRef:
        """The operation that is waited for."""
        return self._wait.ref

    @property
    def latest(self) -> Operation | None:
        """The newest snapshot that this wait has seen, None before the first."""
        return self._wait.latest

    @property
    def time_remaining(self) -> TimeRemaining | None:
        """The range in which the end is expected, in seconds from now; None without credible progress."""
        return self._wait.time_remaining

    def __aiter__(self) -> "Changes":
        return Changes(self._wait)

    async def aclose(self) -> None:
        """End every use of this waiter: iterations end, awaits are cancelled; the operation goes on."""
        self._wait.close()


@define(eq=False, repr=False)
class Wait:
    """What all uses of one waiter share: the deadline, what was seen, and how it ended."""

    ref: OperationRef
    options: WaitOptions
    _enter: Callable[[], Surroundings]
    is_closed: bool = field(init=False, default=False)
    outcome: Ending | None = field(init=False, default=None)
    watch: Watch | None = field(init=False, default=None)
    _first_use: float | None = field(init=False, default=None)
    _uses: "dict[_Use, None]" = field(init=False, factory=dict)
    _latest: Operation | None = field(init=False, default=None)

    @property
    def latest(self) -> Operation | None:
        """The newest snapshot that any use has seen."""
        seen = [use.subscription.latest for use in self._uses]
        return next((operation for operation in seen if operation is not None), self._latest)

    @property
    def time_remaining(self) -> TimeRemaining | None:
        """The expectation of the watch, while there is one."""
        return next((use.time_remaining for use in self._uses), None)

    async def final(self) -> Operation:
        """Wait for the end."""
        if self.outcome is not None:
            return self.conclude(self.outcome)
        use = self.use(wakes_on_change=False)
        try:
            outcome = await use.outcome()
        finally:
            use.leave()
        return self.conclude(outcome)

    def use(self, *, wakes_on_change: bool) -> "_Use":
        """Begin one more use; the first starts the clock of the timeout."""
        if self.is_closed:
            raise asyncio.CancelledError
        surroundings = self._enter()
        if self._first_use is None:
            self._first_use = surroundings.clock.monotonic()
        use = _Use(self, surroundings, self._first_use, wakes_on_change)
        self._uses[use] = None
        use.begin()
        return use

    def used(self, use: "_Use") -> None:
        """Keep what a use that ends has seen."""
        del self._uses[use]
        self._latest = use.subscription.latest or self._latest

    def remember(self, outcome: Ending) -> None:
        """Take how the first of the uses ended: so did the wait, unless somebody only cancelled."""
        if self.outcome is None and not isinstance(outcome, asyncio.CancelledError):
            self.outcome = outcome

    def conclude(self, outcome: Ending) -> Operation:
        """Give the final snapshot, or raise what became of the wait: a new exception for each who is told."""
        if isinstance(outcome, COPIED):
            raise own_copy(outcome)
        if isinstance(outcome, BaseException):
            raise outcome
        if outcome.is_failed and self.options.check:
            reason = outcome.failure_description or "no reason given"
            raise OperationFailedError(f"{self.ref} failed: {reason}", ref=self.ref, operation=outcome)
        return outcome

    def close(self) -> None:
        """End every use now, and any later one at once."""
        self.is_closed = True
        for use in list(self._uses):
            use.end(asyncio.CancelledError())


@define(eq=False, repr=False)
class _Use:
    """One await or one iteration: a subscription, ended at the waiter's deadlines."""

    _wait: Wait
    _surroundings: Surroundings
    _first_use: float
    _wakes_on_change: bool
    subscription: Subscription = field(init=False)
    _watch: Watch = field(init=False)
    _timer: Timer | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        policy = self._wait.options.polling
        not_found_until = self._first_use + policy.not_found_grace
        self.subscription = Subscription(policy, not_found_until, self._wakes_on_change, self._wait.remember)

    def begin(self) -> None:
        """Join the operation's watch."""
        wait = self._wait
        self._watch = wait.watch = self._surroundings.watches.join(wait.ref, self.subscription, wait.watch)
        self._set_timer()

    @property
    def time_remaining(self) -> TimeRemaining | None:
        """The watch's expectation."""
        return self._watch.time_remaining

    async def outcome(self) -> Ending:
        """Wait for the end."""
        while self.subscription.outcome is None:
            await self.subscription.news()
        return self.subscription.outcome

    def end(self, outcome: Ending) -> None:
        """End this use now; the polling goes on for others only."""
        if self.subscription.outcome is None:
            self.subscription.end(outcome)
        self._watch.leave(self.subscription)

    def leave(self) -> None:
        """Let go of everything."""
        if self._timer is not None:
            self._timer.cancel()
        self._watch.leave(self.subscription)
        self._wait.used(self)

    def _set_timer(self) -> None:
        """Look at the deadlines at the earlier of them; a stall counts from the newest change."""
        when = min(self._timeout_at, self._stalled_at)
        if when < math.inf and self.subscription.outcome is None:
            self._timer = self._surroundings.timers.call_at(when, self._check_deadlines)

    @property
    def _timeout_at(self) -> float:
        return self._first_use + self._wait.options.timeout

    @property
    def _stalled_at(self) -> float:
        return max(self._first_use, self._watch.changed_at) + self._wait.options.stall_timeout

    def _check_deadlines(self) -> None:
        now = self._surroundings.clock.monotonic()
        ref, latest, options = self._wait.ref, self._wait.latest, self._wait.options
        if now >= self._timeout_at:
            text = f"{ref} did not end within {options.timeout:g} s; {_last_seen(latest)}"
            self.end(OperationTimeoutError(text, ref=ref, operation=latest))
        elif now >= self._stalled_at:
            text = f"{ref} did not change for {options.stall_timeout:g} s; {_last_seen(latest)}"
            self.end(OperationStalledError(text, ref=ref, operation=latest))
        else:
            self._set_timer()


def _last_seen(latest: Operation | None) -> str:
    return "never seen" if latest is None else f"last seen {latest.raw_status} at {latest.percent_complete:g} %"


@define(eq=False, repr=False)
class Changes(AsyncIterator[Operation]):
    """One iteration over a wait: the newest snapshot first, then each change, the final one once and last.

    A cancelled `anext` loses nothing: the polling goes on, and the next one goes on reading. The polling ends with
    the iteration, which is over when it is closed or dropped.
    """

    _wait: Wait
    _use: _Use | None = field(init=False, default=None)
    _last: Operation | None = field(init=False, default=None)
    _is_over: bool = field(init=False, default=False)

    async def __anext__(self) -> Operation:
        while not isinstance(step := self._step(), Operation):
            try:
                await step.news()
            except asyncio.CancelledError:
                del self  # a traceback that somebody keeps must not keep this iteration, and with it the polling
                raise
        self._last = step
        return step

    def _step(self) -> Operation | Subscription:
        """Give a snapshot that was not given yet, or who will have news of one; raise what the iteration ends with."""
        if self._is_over or (self._use is None and self._wait.is_closed):
            raise StopAsyncIteration
        ending = self._wait.outcome
        if self._use is not None or ending is None:
            subscription = self._begin()
            change, ending = self._fresh(subscription.read()), subscription.outcome
            if change is not None or ending is None:
                return change or subscription
        return self._fresh(ending) or self._end(ending)

    def _begin(self) -> Subscription:
        if self._use is None:
            self._use = self._wait.use(wakes_on_change=True)
        return self._use.subscription

    def _fresh(self, seen: Ending | None) -> Operation | None:
        return seen if isinstance(seen, Operation) and seen != self._last else None

    def _end(self, ending: Ending) -> Never:
        self._is_over = True
        self._leave()
        if not self._wait.is_closed:
            self._wait.conclude(ending)
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End this iteration, also for whoever waits for its next change."""
        self._is_over = True
        if self._use is not None:
            self._use.end(asyncio.CancelledError())
        self._leave()

    def _leave(self) -> None:
        use, self._use = self._use, None
        if use is not None:
            use.leave()

    def __del__(self) -> None:
        self._leave()
