"""The state of a wait: what all consumers of one waiter share, for one operation or for many.

A wait does nothing until it is used. The first consumer (one await, or one iteration) makes every operation of the wait
join its poller; when the last consumer leaves, every operation leaves its poller. Pollers are shared by all waits of a
session, so that cancelling one of two waits for an operation, or one of two consumers, does not affect the other.
"""

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import cast

from attrs import define, field, frozen

from schedules_async._clock import Seconds, Timer, to_seconds
from schedules_async._operations.base_errors import copy_error, to_callers_error
from schedules_async._operations.operation import Operation
from schedules_async._operations.ref import OperationRef
from schedules_async._polling.forecast import TimeRemaining
from schedules_async._polling.policy import PollingPolicy
from schedules_async._polling.poller import Ending, Poller, PollerPool, Subscriber, other_loop
from schedules_async._waiters.checkpoint import Checkpoint, write_checkpoint
from schedules_async.errors import (
    OperationFailedError,
    OperationStalledError,
    OperationTimeoutError,
    SessionClosedError,
    WaitError,
)
from schedules_async.events import WaitBegun, WaitEnded


def to_timeout(name: str, value: Seconds | None) -> float:
    """Return a timeout in seconds, infinity for None; raise ValueError if it is negative or NaN."""
    seconds = math.inf if value is None else to_seconds(value)
    if math.isnan(seconds) or seconds < 0:
        raise ValueError(f"{name} must not be negative, and is {seconds}")
    return seconds


@frozen
class WaitOptions:
    """The options of a wait; timeouts are in seconds, infinity for none."""

    timeout: float
    stall_timeout: float
    check: bool
    polling: PollingPolicy


@define(eq=False, repr=False)
class Consumer:
    """One await or iteration of a wait: the operations with unread changes, and the error that interrupts it."""

    changed: "OrderedDict[OperationSubscriber, None] | None"  # longest unread first; None for an await
    interruption: BaseException | None = field(init=False, default=None)
    loop: asyncio.AbstractEventLoop = field(init=False, factory=asyncio.get_running_loop)
    _news: "list[asyncio.Future[None]]" = field(init=False, factory=list)

    def interrupt(self, error: BaseException) -> None:
        """End this consumer with an error; the operations are not affected."""
        self.interruption = error
        self.wake()

    def wake(self, changed: "Iterable[OperationSubscriber]" = ()) -> None:
        """Add operations to the unread ones, where each stands once, and resolve the futures of `news`."""
        if self.changed is not None:
            self.changed.update(dict.fromkeys(changed))
        news, self._news = self._news, []
        for future in news:
            if not future.done():
                future.set_result(None)

    def news(self) -> "asyncio.Future[None]":
        """Return a future that the next change or interruption resolves; raise ValueError on another event loop."""
        if asyncio.get_running_loop() is not self.loop:
            raise other_loop()
        future = self.loop.create_future()
        self._news = [one for one in self._news if not one.done()]
        self._news.append(future)
        return future


@define(eq=False, repr=False)
class OperationSubscriber(Subscriber):
    """One operation of a wait: its newest snapshot, and how it ended for this wait."""

    ref: OperationRef
    latest: Operation | None
    _wait: "WaitState"
    outcome: Operation | Exception | None = field(init=False)
    quiet_since: float = field(init=False, default=0.0)  # time of the last change, less `closed_seconds` by then
    _poller: Poller | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self.outcome = self.latest if self.latest is not None and self.latest.is_done else None

    @property
    def is_presentable(self) -> bool:
        """True if a new consumer first reads the newest snapshot: it is final, or the poller runs."""
        if self.outcome is None:
            return self.has_snapshot and bool(self._wait.consumers)
        return isinstance(self.outcome, Operation)

    @property
    def time_remaining(self) -> TimeRemaining | None:
        """The range that the poller expects; None while there are no consumers."""
        return self._poller.time_remaining if self._poller is not None and self._wait.consumers else None

    def join(self, pool: PollerPool, first_use: float) -> None:
        """Join the poller of the operation."""
        self.not_found_until = first_use + self._wait.options.polling.not_found_grace
        self.faults, self.first_fault_at = 0, math.inf
        if self._poller is None and self.latest is not None:
            pool.fetcher.lend(self.latest)
        before = self.latest
        self._poller = pool.join(self.ref, self, self._poller)
        if self.latest != before:  # another wait has found the change
            self.quiet_since = pool.timers.now() - pool.closed_seconds

    def leave(self) -> None:
        if self._poller is not None:
            self._poller.leave(self)

    def conclude(self, operation: Operation, now: float) -> Ending | None:
        """Return the final snapshot, or the error of a stall that this poll detected; None if the wait continues."""
        if operation.is_done:
            return operation
        if operation is not self.latest and operation != self.latest:
            self.quiet_since = now - self._wait.closed_seconds
            return None
        self.latest = operation  # its tag may be new
        if not self.has_snapshot or now < self.stalls_at():
            return None
        allowed = self._wait.options.stall_timeout
        text = f"{self.ref} did not change for {allowed:g} s; {_describe(operation)}"
        return OperationStalledError(text, ref=self.ref, operation=operation)

    def stalls_at(self) -> float:
        """Return when the stall timeout expires; time behind a closed gate, or without a consumer, does not count."""
        allowed = self._wait.options.stall_timeout
        if allowed == math.inf:
            return math.inf
        return self.quiet_since + self._wait.closed_seconds + allowed

    def on_change(self, operation: Operation) -> None:
        """Keep a changed snapshot, and pass it on to every consumer."""
        self.latest = operation
        for consumer in tuple(self._wait.consumers):
            if consumer.changed is not None:
                consumer.wake((self,))

    def on_end(self, ending: Ending) -> None:
        """Keep the ending; a SessionClosedError, or a KeyboardInterrupt, interrupts the whole wait instead."""
        if self.outcome is not None:
            return
        if isinstance(ending, SessionClosedError) or not isinstance(ending, Operation | Exception):
            self._wait.interrupt(ending)
        else:
            self.outcome = ending
            self._wait.on_member_end()

    def time_out(self, problem: Exception | None) -> None:
        """End this operation for this wait with OperationTimeoutError; other waits continue."""
        self.leave()
        problem = problem or self.last_problem
        state = "no snapshot was received" if self.latest is None else _describe(self.latest)
        after = "" if problem is None else f"; last problem: {str(problem) or type(problem).__name__}"
        text = f"{self.ref} did not end within {self._wait.options.timeout:g} s: {state}{after}"
        error = OperationTimeoutError(text, ref=self.ref, operation=self.latest)
        error.__cause__ = None if problem is None else copy_error(problem, self.ref)
        self.on_end(error)


def _failure(operation: Operation) -> OperationFailedError:
    reason = operation.failure_description or "no reason given"
    return OperationFailedError(f"{operation.ref} failed: {reason}", ref=operation.ref, operation=operation)


def _describe(operation: Operation) -> str:
    return f"last snapshot {operation.raw_status} at {operation.percent_complete:g} %"


@define(eq=False, repr=False)
class WaitState:
    """The state of a wait: its operations and their outcomes, its consumers and its timeout.

    `refs` are the operations as asked for, which may repeat; `saved` are the snapshots of a checkpoint.
    """

    refs: tuple[OperationRef, ...]
    options: WaitOptions
    _enter: Callable[[OperationRef | None], PollerPool]
    saved: Mapping[OperationRef, Operation]
    members: dict[OperationRef, OperationSubscriber] = field(init=False)
    is_closed: bool = field(init=False, default=False)
    unfinished: int = field(init=False)  # number of operations that have not ended for this wait
    _pool: PollerPool | None = field(init=False, default=None)
    _first_use: float = field(init=False, default=math.nan)
    _begun: WaitBegun | None = field(init=False, default=None)  # while there are consumers and unfinished operations
    _begun_at: float = field(init=False, default=math.nan)
    _polls_before: int = field(init=False, default=0)
    _left_at: float = field(init=False, default=0.0)  # when the last consumer left, less `closed_seconds` by then
    consumers: dict[Consumer, None] = field(init=False, factory=dict)
    _timer: Timer | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        policy = self.options.polling
        learns = policy.min_interval < policy.max_predicted_interval  # otherwise its intervals are fixed
        self.members = {
            ref: OperationSubscriber(policy, policy.max_retry_after, learns, ref, self.saved.get(ref), self)
            for ref in self.refs
        }
        self.unfinished = sum(member.outcome is None for member in self.members.values())

    @property
    def closed_seconds(self) -> float:
        """The total seconds for which the gate has been closed."""
        return 0.0 if self._pool is None else self._pool.closed_seconds

    @property
    def _only_ref(self) -> OperationRef | None:
        return self.refs[0] if len(self.members) == 1 else None

    def results(self) -> list[Operation | Exception]:
        """Return the outcomes of a wait that is over, in the order asked; each exception is a new copy."""
        results = list[Operation | Exception]()
        for ref in self.refs:
            outcome = self.members[ref].outcome
            if isinstance(outcome, Operation):
                results.append(_failure(outcome) if self.options.check and outcome.is_failed else outcome)
            else:
                results.append(copy_error(cast("Exception", outcome)))
        return results

    def add_consumer(self, *, wakes_on_change: bool) -> Consumer:
        """Return a new consumer, which first reads the newest snapshots; the first consumer starts the timeout."""
        consumer = Consumer(OrderedDict() if wakes_on_change else None)
        consumer.wake(member for member in self.members.values() if member.is_presentable)
        if not self.unfinished:
            return consumer
        if self.is_closed:
            raise self._closed_error()
        self._pool = self._enter(self._only_ref)
        self.consumers[consumer] = None
        if len(self.consumers) == 1:
            try:
                self._join(self._pool)
            except BaseException as error:  # raised by the caller's own snapshots or policy
                self.remove_consumer(consumer)
                raise to_callers_error(error) from None
        return consumer

    def _join(self, pool: PollerPool) -> None:
        self._begun_at = now = pool.timers.now()
        self._polls_before = sum(member.polls for member in self.members.values())
        if math.isnan(self._first_use):
            self._first_use = now
        away = now - pool.closed_seconds - self._left_at  # time without a consumer does not count towards a stall
        for member in self.members.values():
            member.quiet_since += away
        self._begun = WaitBegun(frozenset(self.members))
        pool.hooks.emit(self._begun)
        for member in self._open_members():
            member.join(pool, self._first_use)
        if not self.consumers:  # the caller's own code has closed this wait meanwhile
            self._leave()
        elif self.options.timeout < math.inf and self.unfinished:
            self._timer = pool.timers.call_at(self._first_use + self.options.timeout, self._time_out)

    def abandon(self, consumer: Consumer) -> None:
        """Schedule the removal of a consumer; the garbage collector may call this in any thread at any moment."""
        if consumer in self.consumers and self._pool is not None:
            self._pool.call_soon(self.remove_consumer, consumer)

    def remove_consumer(self, consumer: Consumer) -> None:
        """Remove a consumer, if present; after the last one, every operation leaves its poller."""
        if consumer in self.consumers:
            del self.consumers[consumer]
            if not self.consumers and self.unfinished:
                self._leave()

    def _leave(self, interruption: BaseException | None = None) -> None:
        """Leave every poller; emit a WaitEnded, unless it was emitted before or the event loop was closed."""
        pool, begun, self._begun = self._pool, self._begun, None
        if self._timer is not None:
            self._timer.cancel()
        if pool is None:
            return
        now = pool.timers.now()
        if self.unfinished:
            self._left_at = now - pool.closed_seconds
            for member in self._open_members():
                member.leave()
        if begun is not None and not pool.loop.is_closed():
            polls = sum(member.polls for member in self.members.values()) - self._polls_before
            outcomes = [member.outcome for member in self.members.values() if member.outcome is not None]
            copies = tuple(copy_error(one) if isinstance(one, Exception) else one for one in outcomes)
            pool.hooks.emit(WaitEnded(begun, now - self._begun_at, polls, copies, interruption))

    def _open_members(self) -> list[OperationSubscriber]:
        return [member for member in self.members.values() if member.outcome is None]

    def on_member_end(self) -> None:
        """Count one operation that has ended; the last one ends the wait for every consumer."""
        self.unfinished -= 1
        if not self.unfinished:
            self._leave()
            for consumer in tuple(self.consumers):
                consumer.wake()

    def interrupt(self, error: BaseException) -> None:
        """End every consumer with an error; a SessionClosedError gets the ref of the only operation."""
        if isinstance(error, SessionClosedError):
            error.ref = self._only_ref
        self._end_consumers(error)
        self._leave(error)

    def close(self) -> None:
        """End every consumer now, and any later one at once; raise ValueError on another event loop."""
        is_loop_closed = self._is_loop_closed()
        self.is_closed = True
        if not is_loop_closed:
            self._end_consumers(self._closed_error())
            self._leave()

    def close_consumer(self, consumer: Consumer) -> None:
        """Remove a consumer, if present, also while it awaits news; raise ValueError on another event loop."""
        if not self._is_loop_closed():
            self.remove_consumer(consumer)
            consumer.wake()

    def _is_loop_closed(self) -> bool:
        return self._pool is not None and not self._pool.is_on_its_loop()

    def _end_consumers(self, error: BaseException) -> None:
        consumers, self.consumers = self.consumers, {}
        for consumer in consumers:
            consumer.interrupt(error)

    def _closed_error(self) -> WaitError:
        name = self._only_ref or f"{len(self.members)} operations"
        return WaitError(f"the wait for {name} was closed", ref=self._only_ref)

    def _time_out(self) -> None:
        problem = None if self._pool is None else self._pool.throttled_by
        for member in self._open_members():
            member.time_out(problem)

    def checkpoint(self, *, is_group: bool) -> str:
        """Return the checkpoint of this wait as text."""
        left = self.options.timeout
        if self._pool is not None:
            left = max(self._first_use + left - self._pool.timers.now(), 0.0)
        return write_checkpoint(
            Checkpoint(
                refs=self.refs,
                saved={ref: member.latest for ref, member in self.members.items() if member.latest is not None},
                is_group=is_group,
                check=self.options.check,
                timeout=left,
                stall_timeout=self.options.stall_timeout,
            )
        )
