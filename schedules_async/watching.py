"""Watches: one polling loop for each operation that is waited for, shared by all who wait for it.

A watch has no task of its own: it wants a look, hears what the look gave, tells its subscriptions, and wants
the next. It ends with the operation, with an error, or when the last subscription leaves.
"""

import asyncio
import math
from collections.abc import Callable
from functools import partial

from attrs import define, field

from schedules_async.base_errors import own_copy
from schedules_async.clock import Clock
from schedules_async.errors import NotFoundError, ResponseError
from schedules_async.looking import COPIED, Looks, Outcome
from schedules_async.models import Operation
from schedules_async.polling import PollingPolicy, Progress, TimeRemaining, jitter_seed
from schedules_async.refs import OperationRef
from schedules_async.responses import Seen
from schedules_async.stats import Tally

Ending = Operation | BaseException


@define(eq=False, repr=False)
class Subscription:
    """What one reader has not read yet: the newest change, then how the watch ended for it."""

    policy: PollingPolicy
    not_found_until: float
    wakes_on_change: bool
    _remember: Callable[[Ending], None]
    latest: Operation | None = field(init=False, default=None)
    unread: Operation | None = field(init=False, default=None)
    outcome: Ending | None = field(init=False, default=None)
    due: float = field(init=False, default=-math.inf)
    _waiting: "list[asyncio.Future[None]]" = field(init=False, factory=list)

    def show(self, operation: Operation) -> None:
        """Take a change; an older one that was not read gives way."""
        self.latest = self.unread = operation
        if self.wakes_on_change:
            self._wake()

    def read(self) -> Operation | None:
        """Give the unread change, which then counts as read."""
        unread, self.unread = self.unread, None
        return unread

    def end(self, outcome: Ending) -> None:
        """Take the end: the final snapshot, or an error."""
        self.outcome = outcome
        self._remember(outcome)
        self._wake()

    def _wake(self) -> None:
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    async def news(self) -> None:
        """Wait until there is something to read that was not there."""
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        try:
            await waiting
        finally:
            self._waiting.remove(waiting)


@define(eq=False, repr=False)
class Watch:
    """The polling of one operation."""

    ref: OperationRef
    _looks: Looks
    _tally: Tally
    _clock: Clock
    _random: Callable[[], float]
    _forget: Callable[[], object]
    latest: Operation | None = field(init=False, default=None)
    changed_at: float = field(init=False, default=-math.inf)
    _looked_at: float = field(init=False, default=-math.inf)
    _postponement: float = field(init=False, default=0.0)
    _progress: Progress = field(init=False, factory=Progress)
    _subscriptions: dict[Subscription, None] = field(init=False, factory=dict)
    _seed: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._seed = jitter_seed(self.ref)

    @property
    def time_remaining(self) -> TimeRemaining | None:
        """Give the range in which the operation is expected to end, in seconds from now."""
        return self._progress.time_remaining(self._clock.monotonic())

    def join(self, subscription: Subscription) -> None:
        """Let one more reader in; it starts from the newest snapshot of a running watch.

        A watch that was left and is joined again goes on with the look that was due.
        """
        if self.latest is not None:
            if self._subscriptions:
                subscription.show(self.latest)
            self._set_due(subscription)
        self._subscriptions[subscription] = None
        self._want_look()

    def leave(self, subscription: Subscription) -> None:
        """Let a reader go, if it is still here; the last one ends the polling."""
        if subscription in self._subscriptions:
            self._remove([subscription])
            if self._subscriptions:
                self._want_look()

    def _remove(self, subscriptions: list[Subscription]) -> None:
        for subscription in subscriptions:
            del self._subscriptions[subscription]
        if subscriptions and not self._subscriptions:
            self._forget()
            self._looks.release(self.ref, self)

    def _set_due(self, subscription: Subscription) -> None:
        """Plan for a reader by its policy; a Retry-After of the last answer is a floor, as far as a wait sleeps."""
        policy = subscription.policy
        pause = policy.pause(self._progress, self._seed, self._random())
        subscription.due = self._looked_at + max(pause, min(self._postponement, policy.max_retry_after))

    def _want_look(self) -> None:
        """Want the next look, at the earliest that any reader's policy asks for."""
        due = min(subscription.due for subscription in self._subscriptions)
        self._looks.want(self.ref, self, due if due > -math.inf else self._clock.monotonic())

    def _want_another_look(self, postponement: float) -> None:
        self._looked_at, self._postponement = self._clock.monotonic(), postponement
        for subscription in self._subscriptions:
            self._set_due(subscription)
        self._want_look()

    def look_ended(self, outcome: Outcome) -> None:
        """Hear what a look gave."""
        if isinstance(outcome, Seen):
            self._saw(outcome)
        elif isinstance(outcome, NotFoundError):
            self._missed(outcome)
        else:
            self._end(list(self._subscriptions), outcome)

    def put_off(self, until: float, refusal: ResponseError) -> None:
        """End those whose policy does not sleep through that long a refusal."""
        pause = until - self._clock.monotonic()
        self._end([each for each in self._subscriptions if pause > each.policy.max_retry_after], refusal)

    def _saw(self, seen: Seen) -> None:
        operation = seen.operation
        self._progress.observe(operation, self._clock.monotonic(), seen.date)
        if operation.is_done:
            self._measure_delay(seen)
        self._show(operation)
        if operation.is_done:
            self._end(list(self._subscriptions), operation)
        else:
            self._want_another_look(seen.retry_after or 0.0)

    def _missed(self, error: NotFoundError) -> None:
        """End those for whom a 404 no longer means "not yet"."""
        now = self._clock.monotonic()
        self._end([each for each in self._subscriptions if now >= each.not_found_until], error)
        if self._subscriptions:
            self._want_another_look(0.0)

    def _show(self, operation: Operation) -> None:
        """Show a change to all, and to those who have seen nothing yet what is as it was."""
        is_change = operation != self.latest
        if is_change:
            self.latest, self.changed_at = operation, self._clock.monotonic()
            self._tally.updates += 1
        for subscription in self._subscriptions:
            if is_change or subscription.latest is None:
                subscription.show(operation)

    def _measure_delay(self, seen: Seen) -> None:
        """Count how late the end was seen, if the operation was seen running before."""
        ended = seen.operation.updated_at
        if self.latest is not None and ended is not None and seen.date is not None:
            delay = max((seen.date - ended).total_seconds(), 0.0)
            self._tally.detection_delay = self._tally.detection_delay.with_one_more(delay)

    def _end(self, subscriptions: list[Subscription], outcome: Ending) -> None:
        for subscription in subscriptions:
            subscription.end(own_copy(outcome, self.ref) if isinstance(outcome, COPIED) else outcome)
        self._remove(subscriptions)


@define(eq=False, repr=False)
class Watches:
    """The watches of a session, one for each operation that is waited for."""

    _looks: Looks
    _tally: Tally
    _clock: Clock
    _random: Callable[[], float]
    _watches: dict[OperationRef, Watch] = field(init=False, factory=dict)

    def join(self, ref: OperationRef, subscription: Subscription, left: Watch | None) -> Watch:
        """Let a reader into the running watch of an operation, else into the one that it left, else into a new one."""
        watch = self._watches.get(ref) or left
        if watch is None:
            forget = partial(self._watches.pop, ref)
            watch = Watch(ref, self._looks, self._tally, self._clock, self._random, forget)
        self._watches[ref] = watch
        watch.join(subscription)
        return watch
