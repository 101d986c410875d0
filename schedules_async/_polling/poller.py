"""Watches: one polling loop for each operation that is waited for, shared by all who wait for it.

A watch has no task of its own: it wants a look, hears what the look gave, tells its subscribers, and wants
the next. It ends with the operation, with an error, or when the last subscriber leaves.
"""

import math
from collections.abc import Callable
from typing import Protocol

from attrs import define, field

from schedules_async._clock import Clock
from schedules_async._hooks import Hooks
from schedules_async._http.responses import Seen
from schedules_async._operations.base_errors import own_copy
from schedules_async._operations.operation import Operation
from schedules_async._operations.ref import OperationRef
from schedules_async._polling.fetcher import COPIED, Looks, Outcome
from schedules_async._polling.forecast import Progress, TimeRemaining
from schedules_async._polling.policy import PollingPolicy, jitter_seed
from schedules_async._stats import Tally
from schedules_async._throttling.rate_limiter import Pacing
from schedules_async.errors import NotFoundError, ResponseError, SessionClosedError
from schedules_async.events import Changed

Ending = Operation | BaseException


class Subscriber(Protocol):
    """Somebody who follows an operation; `not_found_until` is the time up to which a 404 means "not yet"."""

    not_found_until: float

    @property
    def policy(self) -> PollingPolicy:
        """Say when to look."""

    def looked(self) -> None:
        """Count a look that came to something."""

    def show(self, operation: Operation) -> None:
        """Take a change; the first snapshot since joining counts as one."""

    def end(self, outcome: Ending) -> None:
        """Take the end: the final snapshot, or an error."""


@define(eq=False, repr=False)
class Watch:
    """The polling of one operation; `latest` is what was seen of it before, if anything was."""

    ref: OperationRef
    _watches: "Watches"
    latest: Operation | None
    changed_at: float = field(init=False, default=-math.inf)
    _running_since: float = field(init=False, default=-math.inf)
    _looked_at: float = field(init=False, default=-math.inf)
    _postponement: float = field(init=False, default=0.0)
    _progress: Progress = field(init=False, factory=Progress)
    _subscribers: dict[Subscriber, bool] = field(init=False, factory=dict)  # with whether anything was shown
    _dues: dict[PollingPolicy, tuple[float, float]] = field(init=False, factory=dict)  # each policy's due time and rank
    demand: float = field(init=False, default=0.0)  # looks a second
    _seed: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._seed = jitter_seed(self.ref)

    @property
    def time_remaining(self) -> TimeRemaining | None:
        """Give the range in which the operation is expected to end, in seconds from now."""
        return self._progress.time_remaining(self._watches.clock.monotonic())

    def join(self, subscriber: Subscriber) -> None:
        """Let one more in, who starts from the newest snapshot of a running watch.

        A watch that was left and is joined again goes on with the look that was due.
        """
        is_running = bool(self._subscribers)
        if not is_running:
            self._running_since = self._watches.clock.monotonic()
        self._subscribers[subscriber] = False
        if subscriber.policy not in self._dues:
            now = self._watches.clock.monotonic()
            self._dues[subscriber.policy] = now, now
            if self._looked_at > -math.inf:
                self._plan()
        if self.latest is not None and is_running:
            self._show_to(subscriber, self.latest)
        self._want_look()

    def leave(self, subscriber: Subscriber) -> None:
        """Let one go, if it is still here; the last one ends the polling."""
        if subscriber in self._subscribers:
            is_one_policy = len(self._dues) == 1
            self._remove([subscriber])
            if self._subscribers and not is_one_policy:
                self._want_look()

    def _remove(self, subscribers: list[Subscriber]) -> None:
        for subscriber in subscribers:
            del self._subscribers[subscriber]
        if not self._subscribers:
            self._dues.clear()
            self._watches.forget(self)
        elif len(self._dues) > 1:
            wanted = {subscriber.policy for subscriber in self._subscribers}
            self._dues = {policy: due for policy, due in self._dues.items() if policy in wanted}

    def _plan(self) -> None:
        """Plan the next look by every policy; a Retry-After of the last answer is a floor, as far as a wait sleeps."""
        sample = self._watches.random()
        pauses = {policy: policy.interval(self._progress, self._seed, sample) for policy in self._dues}
        self._watches.demand(self, 1 / min(pauses.values()))
        for policy, pause in pauses.items():
            due = self._looked_at + max(pause, min(self._postponement, policy.max_retry_after))
            self._dues[policy] = due, due + self._room_for_others(policy, pause, sample)

    def _room_for_others(self, policy: PollingPolicy, pause: float, sample: float) -> float:
        """Give by how much others may be preferred when all want more than the budget has: one round at the most."""
        stretch = self._watches.pacing.stretch
        if stretch == 1:
            return 0.0
        stretched = policy.interval(self._progress, self._seed, sample, stretch)
        return min(stretched - pause, self._watches.one_round)

    def _want_look(self) -> None:
        """Want the next look, at the earliest that any policy asks for."""
        due, rank = (min(times) for times in zip(*self._dues.values(), strict=True))
        self._watches.polls.want(self.ref, self, due, rank)

    def _want_another_look(self, postponement: float) -> None:
        self._looked_at, self._postponement = self._watches.clock.monotonic(), postponement
        self._plan()
        self._want_look()

    def look_ended(self, outcome: Outcome) -> None:
        """Hear what a look gave."""
        if not isinstance(outcome, SessionClosedError):
            for subscriber in self._subscribers:
                subscriber.looked()
        if isinstance(outcome, Seen):
            self._saw(outcome)
        elif isinstance(outcome, NotFoundError):
            self._missed(outcome)
        else:
            self._end(list(self._subscribers), outcome)

    def put_off(self, until: float, refusal: ResponseError) -> None:
        """End those whose policy does not sleep through that long a refusal."""
        pause = until - self._watches.clock.monotonic()
        if any(pause > policy.max_retry_after for policy in self._dues):
            self._end([each for each in self._subscribers if pause > each.policy.max_retry_after], refusal)

    def _saw(self, seen: Seen) -> None:
        operation = seen.operation
        self._progress.observe(operation, self._watches.clock.monotonic(), seen.date)
        if operation.is_done:
            self._measure_delay(seen)
        self._show(operation)
        if operation.is_done:
            self._end(list(self._subscribers), operation)
        else:
            self._want_another_look(seen.retry_after or 0.0)

    def _missed(self, error: NotFoundError) -> None:
        """End those for whom a 404 no longer means "not yet"."""
        now = self._watches.clock.monotonic()
        self._end([each for each in self._subscribers if now >= each.not_found_until], error)
        if self._subscribers:
            self._want_another_look(0.0)

    def _show(self, operation: Operation) -> None:
        """Show a change to all, and to those who have seen nothing yet what is as it was."""
        is_change = operation != self.latest
        if is_change:
            self.latest, self.changed_at = operation, self._watches.clock.monotonic()
            self._watches.tally.updates += 1
            if self._watches.hooks.is_anybody_listening:
                self._watches.hooks.tell(Changed(operation))
        for subscriber, has_seen in self._subscribers.items():
            if is_change or not has_seen:
                self._show_to(subscriber, operation)

    def _show_to(self, subscriber: Subscriber, operation: Operation) -> None:
        self._subscribers[subscriber] = True
        subscriber.show(operation)

    def _measure_delay(self, seen: Seen) -> None:
        """Count how late the end was seen, if the operation was seen running before and looked at ever since."""
        ended, tally = seen.operation.updated_at, self._watches.tally
        is_continuous = self.latest is not None and self._looked_at >= self._running_since
        if is_continuous and ended is not None and seen.date is not None:
            delay = max((seen.date - ended).total_seconds(), 0.0)
            tally.detection_delay = tally.detection_delay.with_one_more(delay)

    def _end(self, subscribers: list[Subscriber], outcome: Ending) -> None:
        for subscriber in subscribers:
            subscriber.end(own_copy(outcome, self.ref) if isinstance(outcome, COPIED) else outcome)
        self._remove(subscribers)


@define(eq=False, repr=False)
class Watches:
    """The watches of a session, one for each operation that is waited for."""

    polls: Looks
    pacing: Pacing
    tally: Tally
    clock: Clock
    random: Callable[[], float]
    hooks: Hooks
    _watches: dict[OperationRef, Watch] = field(init=False, factory=dict)

    def join(self, ref: OperationRef, subscriber: Subscriber, left: Watch | None, seen: Operation | None) -> Watch:
        """Let one into the running watch of an operation, else into the one that it left, else into a new one.

        `seen` is a snapshot from before there was any watch: its tag goes along with the first look.
        """
        watch = self._watches.get(ref) or left
        if watch is None:
            watch = Watch(ref, self, seen)
            if seen is not None:
                self.polls.remember(seen)
        self._watches[ref] = watch
        watch.join(subscriber)
        return watch

    def __len__(self) -> int:
        return len(self._watches)

    @property
    def one_round(self) -> float:
        """Give the seconds that one look at each operation takes."""
        return len(self) / self.pacing.lasting_rate

    def demand(self, watch: Watch, looks_a_second: float) -> None:
        """Count what a watch would look if the budget had room for all."""
        self.pacing.demand += looks_a_second - watch.demand
        watch.demand = looks_a_second

    def forget(self, watch: Watch) -> None:
        """Let go of a watch that nobody follows any more."""
        self._watches.pop(watch.ref, None)
        self.demand(watch, 0.0)
        self.polls.release(watch.ref, watch)
