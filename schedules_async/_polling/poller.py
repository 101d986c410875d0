"""Pollers: one polling loop for each operation in use, shared by waits and single fetches.

A poller that sleeps has no task: its next request waits in the request queue. When its turn comes it fetches, decides
what the outcome means for each subscriber, plans the next poll, and only then notifies.

A 429, or a 503 with Retry-After, closes the gate for the whole session: `Fetcher._learn` computes the pause, which is
Retry-After or the session's own backoff, and emits `Throttled`. `PollerPool.end_impatient` then ends those subscribers,
of any operation, that do not accept so long a pause: with the answer, a RateLimitedError or a ServerError, which an
iteration raises after its unread snapshots. A wait accepts its policy's `max_retry_after` (an hour by default). The
polls of the others stay due, and the request queue holds them until the gate opens. The 503 is a transient fault too.
"""

import asyncio
import contextlib
import contextvars
import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Any, cast

from attrs import define, field

from schedules_async._clock import Timers
from schedules_async._hooks import Hooks
from schedules_async._http.aiohttp_gaps import NotSentError, StaleConnectionError
from schedules_async._http.responses import Fetched
from schedules_async._http.retry import RetryPolicy, backoff_delay
from schedules_async._operations.base_errors import SchedulesError, copy_error, to_callers_error
from schedules_async._operations.operation import Operation
from schedules_async._operations.ref import OperationRef
from schedules_async._polling.experience import Experience
from schedules_async._polling.fetcher import Fetcher
from schedules_async._polling.forecast import Progress, TimeRemaining
from schedules_async._polling.policy import PollingPolicy, check_interval, jitter_seed
from schedules_async._stats import DetectionDelay
from schedules_async._throttling.request_queue import RequestQueue, Turn
from schedules_async.errors import (
    AuthenticationError,
    NotFoundError,
    RateLimitedError,
    ResponseError,
    SessionClosedError,
    TransportError,
)
from schedules_async.events import Changed, Polled, Retried

Outcome = Fetched | BaseException
Ending = Operation | BaseException
_DATE_RESOLUTION = 1.0  # seconds: a Date is cut to whole ones
_MAX_CANCELLATIONS = 20


class PollCancelledError(Exception):
    """The task of a poll was cancelled from outside, for instance by a framework that cancels all tasks."""


# Outcomes that reveal nothing about the operation: it is polled again, and no event of the poll is emitted.
_INCONCLUSIVE = (NotSentError, StaleConnectionError, PollCancelledError)
_POLLED_AGAIN = (*_INCONCLUSIVE, RateLimitedError)
_ABOUT_OPERATION = (Fetched, NotFoundError)


@define(eq=False, repr=False)
class Subscriber(ABC):
    """One that a poller notifies: an operation of a wait, or a single fetch.

    `policy` is None for a single fetch, whose turn is urgent. It accepts pauses of up to `max_retry_after`. Until
    `not_found_until` a 404 means "not yet".
    """

    policy: PollingPolicy | None
    max_retry_after: float  # seconds
    learns: bool  # its policy uses what ended operations teach
    not_found_until: float = field(init=False, default=-math.inf)
    due: float = field(init=False, default=math.inf)
    deadline: float = field(init=False, default=math.inf)
    has_snapshot: bool = field(init=False, default=False)  # since it joined
    faults: int = field(init=False, default=0)  # transient ones in a row
    first_fault_at: float = field(init=False, default=math.inf)
    last_problem: SchedulesError | None = field(init=False, default=None)
    polls: int = field(init=False, default=0)

    def tolerates(self, until: float, now: float) -> bool:
        """Return True if this subscriber accepts that the gate is closed until `until`."""
        return until - now <= self.max_retry_after

    @abstractmethod
    def conclude(self, operation: Operation, now: float) -> Ending | None:
        """Return the ending that a snapshot means for this subscriber, None if it continues to wait."""

    def stalls_at(self) -> float:
        """Return the time from which an unchanged snapshot ends this subscriber."""
        return math.inf

    @abstractmethod
    def on_change(self, operation: Operation) -> None:
        """Receive the first snapshot since joining, or a changed one."""

    @abstractmethod
    def on_end(self, ending: Ending) -> None:
        """Receive the ending; the poller has removed this subscriber."""


@define(eq=False, repr=False)
class Poller:
    """The polling of one operation; `latest` is the newest snapshot that it has fetched for a wait."""

    ref: OperationRef
    _pool: "PollerPool"
    latest: Operation | None = field(init=False, default=None)
    _seed: float | None = field(init=False, default=None)  # of the jitter
    _demand: float = field(init=False, default=0.0)  # polls a second, without rate limits; a part of the queue's
    subscribers: dict[Subscriber, None] = field(init=False, factory=dict)
    _turn: Turn | None = field(init=False, default=None)  # in the queue, or of the fetch under way
    _task: "asyncio.Task[None] | None" = field(init=False, default=None)
    _progress: Progress | None = field(init=False, default=None)
    _polled_at: float = field(init=False, default=-math.inf)
    _found_running_at: float = field(init=False, default=-math.inf)  # by a poll, in the present use
    _retry_after: float = field(init=False, default=0.0)
    _faults: int = field(init=False, default=0)  # transient ones in a row
    _retry_at: float = field(init=False, default=-math.inf)
    retry_after_until: float = field(init=False, default=-math.inf)  # by the Retry-After of a transient fault
    _cancellations: int = field(init=False, default=0)  # of fetches from outside, since the last outcome

    @property
    def time_remaining(self) -> TimeRemaining | None:
        """The range in which the operation is expected to end, in seconds from now."""
        return None if self._progress is None else self._progress.time_remaining(self._pool.timers.now())

    def join(self, subscriber: Subscriber) -> None:
        """Add a subscriber; it starts from the newest snapshot if the poller is in use.

        For a wait, the first poll is due one interval after the last poll, or at once if there was none. A single
        fetch is due at once: it ends a backoff delay and the Retry-After of a fault, for waits too.
        """
        now, is_in_use = self._pool.timers.now(), bool(self.subscribers)
        subscriber.has_snapshot = False
        subscriber.due = subscriber.deadline = now
        if subscriber.policy is not None and self._polled_at > -math.inf:
            self._plan(subscriber, subscriber.policy, {})
        if subscriber.policy is None:
            self._faults, self._retry_at, self.retry_after_until = 0, -math.inf, -math.inf
        if not is_in_use:
            self._found_running_at = -math.inf
        subscriber.last_problem = next((one.last_problem for one in self.subscribers), None)
        self.subscribers[subscriber] = None
        if subscriber.policy is not None and self.latest is not None and is_in_use:
            subscriber.has_snapshot = True
            subscriber.on_change(self.latest)
        self._schedule()

    def leave(self, subscriber: Subscriber) -> None:
        """Remove a subscriber, if present; the last one ends the polling, and a fetch under way."""
        if subscriber in self.subscribers:
            self._remove([subscriber])
            self._schedule()

    def _remove(self, subscribers: Iterable[Subscriber]) -> None:
        """Remove subscribers; if none are left, end the polling."""
        for subscriber in subscribers:
            self.subscribers.pop(subscriber, None)
        if self.subscribers:
            return
        pool, turn, self._turn = self._pool, self._turn, None
        if pool.pollers.get(self.ref) is self:
            del pool.pollers[self.ref]
        pool.queue.demand -= self._demand
        self._demand = 0.0
        task, self._task = self._task, None
        if task is not None:
            pool.cancel(task)
        if turn is not None:
            turn.withdraw()

    def _schedule(self) -> None:
        """Request a turn for the earliest poll that any subscriber wants, unless a fetch is under way."""
        if self._task is not None or not self.subscribers:
            return
        due, deadline, is_urgent = math.inf, math.inf, False
        for subscriber in self.subscribers:
            due, deadline = min(due, subscriber.due), min(deadline, subscriber.deadline)
            is_urgent |= subscriber.policy is None
        due = max(due, self._retry_at)
        deadline = max(deadline, due)
        if self._turn is not None:
            if (self._turn.due, self._turn.deadline, self._turn.is_urgent) == (due, deadline, is_urgent):
                return
            self._turn.withdraw()
        turn = self._pool.queue.request(due, deadline, self._start, is_urgent=is_urgent)
        if self._task is None:
            self._turn = turn

    def _start(self, turn: Turn) -> None:
        """Start a fetch, in a task that is never eager and runs in a copy of the session's context."""
        pool, self._turn = self._pool, turn
        self._task = asyncio.Task(self._poll(turn), loop=pool.loop, context=pool.context.copy())
        self._task.add_done_callback(partial(self._on_done, turn), context=pool.context)

    async def _poll(self, turn: Turn) -> None:
        """Fetch once, and settle the outcome unless all subscribers have left meanwhile."""
        outcome: Outcome
        try:
            outcome = await self._pool.fetcher.fetch(self.ref, turn)
        except (asyncio.CancelledError, NotSentError) as error:
            if _is_cancelling():
                raise asyncio.CancelledError from None
            outcome = to_callers_error(error)
        except Exception as error:
            outcome = error
        turn.give_back()
        try:
            if self._turn is turn:
                self._turn = self._task = None
                self._settle(outcome, turn.seconds)
        finally:
            del outcome  # avoid a cycle of an exception, its traceback and this frame

    def _on_done(self, turn: Turn, task: "asyncio.Task[None]") -> None:
        """Settle a fetch whose task did not: it was cancelled from outside, perhaps before it began, or it raised."""
        turn.give_back()
        if self._turn is turn:
            self._turn = self._task = None
            error = self._on_cancelled() if task.cancelled() else task.exception()
            self._settle(to_callers_error(error or RuntimeError("a poll ended without an outcome")))
        elif not task.cancelled() and (error := task.exception()) is not None:
            self.end(tuple(self.subscribers), error)

    def _on_cancelled(self) -> Exception:
        """Return PollCancelledError, after which the poll is due again; for every 21st in a row, a TransportError."""
        self._cancellations += 1
        self._retry_at = self._pool.timers.now() + self._pool.retry.base * self._pool.random()
        if self._cancellations <= _MAX_CANCELLATIONS:
            return PollCancelledError()
        return TransportError(f"the request was cancelled {self._cancellations} times")

    def _settle(self, outcome: Outcome, seconds: float = 0.0) -> None:
        """Decide what a fetch means for each subscriber, plan the next poll, then notify them."""
        if isinstance(outcome, ResponseError) and outcome.is_throttling:
            self._pool.end_impatient(self._pool.pollers.values())
        if not self.subscribers:
            return
        now, subscribers = self._pool.timers.now(), tuple(self.subscribers)
        is_change = isinstance(outcome, Fetched) and self._observe(outcome, now)
        self._count_faults(outcome, now)
        judged = {one: self._judge(one, outcome, now) for one in subscribers}
        endings = {one: ending for one, ending in judged.items() if ending is not None}
        if isinstance(outcome, _ABOUT_OPERATION):
            self._polled_at, self._retry_after = now, outcome.retry_after or 0.0
            if len(endings) < len(subscribers):
                endings |= self._plan_all([one for one in subscribers if one not in endings])
        self._remove(endings)
        self._schedule()
        self._emit(outcome, now, seconds, is_change=is_change)
        for subscriber in subscribers:
            if isinstance(outcome, Fetched) and (is_change or not subscriber.has_snapshot):
                subscriber.has_snapshot = True
                subscriber.on_change(outcome.operation)
        for subscriber, ending in endings.items():
            subscriber.on_end(copy_error(ending, self.ref) if isinstance(ending, BaseException) else ending)

    def _observe(self, fetched: Fetched, now: float) -> bool:
        """Update the progress from a snapshot, if there are waits; return whether the snapshot has changed."""
        operation = fetched.operation
        if all(subscriber.policy is None for subscriber in self.subscribers):
            return False
        if operation.is_done:
            self._observe_end(fetched, now)
        else:
            self._found_running_at = now
            self._progress = self._progress or Progress()
            self._progress.observe(operation, now, fetched.date)
        is_change = operation is not self.latest and operation != self.latest
        self.latest = operation  # also if only its tag is new
        self._pool.counts["updates"] += is_change
        return is_change

    def _observe_end(self, fetched: Fetched, now: float) -> None:
        """Record the detection delay, and learn from the end unless all intervals are fixed.

        Do nothing if no earlier poll found the operation running.
        """
        ended, longest = fetched.operation.updated_at, now - self._found_running_at
        if self._progress is None or longest == math.inf:
            return
        if ended is not None and fetched.date is not None:
            delay = max((fetched.date - ended).total_seconds(), 0.0)
            if delay <= longest + _DATE_RESOLUTION:
                delay, before = min(delay, longest), self._pool.delay
                mean = before.mean + (delay - before.mean) / (before.count + 1)
                self._pool.delay = DetectionDelay(before.count + 1, mean, max(before.max, delay))
        if any(subscriber.learns for subscriber in self.subscribers):
            self._progress.teach(self._pool.experience, fetched.operation, now, fetched.date)

    def _count_faults(self, outcome: Outcome, now: float) -> None:
        """Keep the problem of a fetch, and count transient faults in a row, for each subscriber and the backoff."""
        if isinstance(outcome, _INCONCLUSIVE):
            return
        self._cancellations = 0
        problem = outcome if isinstance(outcome, SchedulesError) else None
        is_fault = problem is not None and problem.is_transient
        for subscriber in self.subscribers:
            subscriber.last_problem = problem
            if is_fault:
                subscriber.faults += 1
                subscriber.first_fault_at = min(subscriber.first_fault_at, now)
            elif not isinstance(outcome, RateLimitedError):
                subscriber.faults, subscriber.first_fault_at = 0, math.inf
        if is_fault:
            self._faults += 1
            delay = backoff_delay(self._pool.retry, self._faults, self._pool.random())
            self.retry_after_until = now + (getattr(problem, "retry_after", None) or 0.0)
            self._retry_at = max(now + delay, self.retry_after_until)
        elif not isinstance(outcome, RateLimitedError):
            self._faults, self._retry_at = 0, -math.inf

    def _judge(self, subscriber: Subscriber, outcome: Outcome, now: float) -> Ending | None:
        """Return the ending that a fetch means for a subscriber, None if it continues to wait."""
        if isinstance(outcome, Fetched):
            subscriber.polls += 1
            return subscriber.conclude(outcome.operation, now)
        if isinstance(outcome, _POLLED_AGAIN):
            return None
        if isinstance(outcome, SchedulesError) and outcome.is_transient:
            delay = getattr(outcome, "retry_after", None) or 0.0
            is_tolerated = delay <= subscriber.max_retry_after
            if isinstance(outcome, AuthenticationError):  # the identity server is unavailable
                is_tolerated = is_tolerated and subscriber.has_snapshot
            retry = self._pool.retry
            max_outage = 0.0 if subscriber.policy is None else retry.max_outage
            if is_tolerated and (subscriber.faults < retry.attempts or now - subscriber.first_fault_at < max_outage):
                return None
            outcome = _add_attempts(outcome, subscriber.faults)
        subscriber.polls += 1
        is_expected = isinstance(outcome, NotFoundError) and now < subscriber.not_found_until
        return None if is_expected else outcome

    def _plan_all(self, subscribers: list[Subscriber]) -> dict[Subscriber, Ending]:
        """Plan the next poll for each subscriber; return the exceptions that their policies raised."""
        endings: dict[Subscriber, Ending] = {}
        intervals: dict[int, tuple[float, float]] = {}
        for subscriber in subscribers:
            try:
                self._plan(subscriber, cast("PollingPolicy", subscriber.policy), intervals)
            except BaseException as error:  # raised by the caller's own policy
                endings[subscriber] = to_callers_error(error)
        if intervals:
            demand = 1 / min(intervals.values())[0]
            self._pool.queue.demand += demand - self._demand
            self._demand = demand
        return endings

    def _plan(self, subscriber: Subscriber, policy: PollingPolicy, intervals: dict[int, tuple[float, float]]) -> None:
        """Plan the next poll for a subscriber: after the policy's interval, or earlier to detect a stall.

        A Retry-After in the last answer is a lower bound, up to the subscriber's `max_retry_after`.
        """
        if id(policy) not in intervals:
            intervals[id(policy)] = self._decide(policy)
        interval, slack = intervals[id(policy)]
        floor = min(self._retry_after, subscriber.max_retry_after)
        stalls_at = max(subscriber.stalls_at(), self._polled_at + max(floor, policy.min_interval))
        subscriber.due = min(self._polled_at + max(interval, floor), stalls_at)
        subscriber.deadline = subscriber.due + slack

    def _decide(self, policy: PollingPolicy) -> tuple[float, float]:
        """Return the interval, and the slack: how long the poll may yield to others, at most one poll of each."""
        progress, pool = self._progress or Progress(), self._pool
        seed, sample, load = self._seed or jitter_seed(self.ref), pool.random(), pool.queue.load
        self._seed = seed
        progress.consult(pool.experience)
        interval, slack = check_interval(policy, policy.interval(progress, seed, sample)), 0.0
        if load > 1:
            under_load = check_interval(policy, policy.interval(progress, seed, sample, load))
            slack = min(max(under_load - interval, 0.0), len(pool.pollers) / pool.queue.lasting_rate)
        progress.ends = ()  # too large to keep for thousands of operations
        return interval, slack

    def _emit(self, outcome: Outcome, now: float, seconds: float, *, is_change: bool) -> None:
        """Emit the events of a fetch, to be delivered later; the fetcher emits that of a 429."""
        hooks = self._pool.hooks
        if isinstance(outcome, _POLLED_AGAIN):
            return
        if self.subscribers and isinstance(outcome, SchedulesError) and outcome.is_transient:
            self._pool.counts["retried"] += 1
            begins_outage = self._faults == 1 and self._pool.fetcher.begin_outage(now)
            error, delay = copy_error(outcome, self.ref), max(self._retry_at - now, 0.0)
            hooks.emit(Retried(self.ref, error, self._faults, delay, seconds, begins_outage))
            return
        if hooks.is_anybody_listening:
            interval = None
            if self.subscribers:
                interval = 0.0 if self._turn is None else max(self._turn.due - now, 0.0)
            is_not_modified = isinstance(outcome, Fetched) and outcome.is_not_modified
            result = outcome.operation if isinstance(outcome, Fetched) else copy_error(outcome, self.ref)
            hooks.emit(Polled(self.ref, result, is_not_modified, interval, seconds))
            if is_change and isinstance(outcome, Fetched):
                hooks.emit(Changed(outcome.operation))

    def end(self, subscribers: Collection[Subscriber], error: BaseException) -> None:
        """End some or all of the subscribers with copies of an error."""
        self._remove(subscribers)
        self._schedule()
        for subscriber in subscribers:
            subscriber.on_end(copy_error(error, self.ref))

    def retry_now(self, now: float) -> None:
        """End the backoff delay, because the service answers again; not before a Retry-After, if it asked for one."""
        if self._retry_at > now:
            self._retry_at = max(now, self.retry_after_until)
            self._schedule()


def _add_attempts(error: SchedulesError, attempts: int) -> SchedulesError:
    """Return a copy of an error with the number of attempts in its text, or the error itself after a single one.

    The text of an AuthenticationError already has the attempts at the identity server.
    """
    if attempts < 2 or isinstance(error, AuthenticationError):
        return error
    twin = copy_error(error)
    twin.args = (f"{error} ({attempts} attempts)",)
    return twin


def other_loop() -> ValueError:
    """Return the error to raise on another event loop than the session's."""
    return ValueError("a session belongs to one event loop, and this is another")


def _closed_error() -> SessionClosedError:
    return SessionClosedError("the session was closed")


def _is_cancelling() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


@define(eq=False, repr=False)
class PollerPool:
    """The pollers of one session, one for each operation in use, and what they share."""

    fetcher: Fetcher
    queue: RequestQueue
    timers: Timers
    retry: RetryPolicy
    counts: "Counter[str]"
    hooks: Hooks
    random: Callable[[], float]
    loop: asyncio.AbstractEventLoop
    context: contextvars.Context
    delay: DetectionDelay = field(init=False, factory=DetectionDelay)
    experience: Experience = field(init=False, factory=Experience)
    pollers: dict[OperationRef, Poller] = field(init=False, factory=dict)
    _is_closed: bool = field(init=False, default=False)
    _cancelled: "set[asyncio.Task[None]]" = field(init=False, factory=set)

    @property
    def throttled_by(self) -> ResponseError | None:
        """The answer that closed the gate, None while it is open."""
        error = self.fetcher.throttled_by
        return error if error is not None and self.queue.limiter.closed_until > self.timers.now() else None

    @property
    def closed_seconds(self) -> float:
        """The total seconds for which the gate has been closed."""
        return self.queue.limiter.closed_seconds(self.timers.now())

    def join(self, ref: OperationRef, subscriber: Subscriber, former: Poller | None = None) -> Poller:
        """Add a subscriber to the poller of an operation: that in use, else `former`, which it left, or a new one."""
        poller = self.pollers.get(ref) or former or Poller(ref, self)
        poller.join(subscriber)
        self.pollers[ref], fault = poller, subscriber.last_problem
        if self._is_closed:  # by the caller's own code, for instance its mapping of snapshots
            poller.end([subscriber], _closed_error())
        elif self.throttled_by is not None:
            self.end_impatient([poller])
        elif fault is not None and poller.retry_after_until - self.timers.now() > subscriber.max_retry_after:
            poller.end([subscriber], fault)
        return poller

    def is_on_its_loop(self) -> bool:
        """Return False if the event loop of the session was closed; raise ValueError if another one is running."""
        if self.loop is not asyncio.get_running_loop() and not self.loop.is_closed():
            raise other_loop()
        return not self.loop.is_closed()

    def call_soon(self, callback: Callable[[Any], object], argument: object) -> None:
        """Call `callback` on the event loop, unless that is closed; the garbage collector may do so in any thread."""
        with contextlib.suppress(RuntimeError):  # the event loop was closed
            self.loop.call_soon_threadsafe(callback, argument, context=self.context)

    def cancel(self, task: "asyncio.Task[None]") -> None:
        """Cancel a fetch, for whose end `aclose` waits."""
        self._cancelled.add(task)
        task.add_done_callback(self._cancelled.discard, context=self.context)
        task.cancel()

    def end_impatient(self, pollers: Iterable[Poller]) -> None:
        """End the subscribers that do not wait until the gate opens, with the answer that closed it."""
        error, until, now = self.fetcher.throttled_by, self.queue.limiter.closed_until, self.timers.now()
        for poller in tuple(pollers):
            impatient = [one for one in poller.subscribers if not one.tolerates(until, now)]
            if impatient and error is not None:
                poller.end(impatient, error)

    def __attrs_post_init__(self) -> None:
        self.timers.on_failure = self.end_all
        # In a callback of its own, so that the fetch which found the service answering is usually settled before.
        self.fetcher.on_recovery = partial(self.loop.call_soon, self.on_recovery, context=self.context)

    def on_recovery(self) -> None:
        """At once, within the limits, poll all operations that wait for a backoff delay: an outage is over."""
        now = self.timers.now()
        for poller in tuple(self.pollers.values()):
            poller.retry_now(now)

    def end_all(self, error: BaseException) -> None:
        """End every subscriber of every poller with a copy of an error, for instance the one that a clock raised."""
        for poller in tuple(self.pollers.values()):
            poller.end(tuple(poller.subscribers), to_callers_error(error))

    async def aclose(self) -> None:
        """End every subscriber with SessionClosedError, and wait for the end of every fetch."""
        self._is_closed = True
        self.end_all(_closed_error())
        tasks = self._cancelled - {asyncio.current_task()}
        if tasks:
            await asyncio.wait(tasks)
