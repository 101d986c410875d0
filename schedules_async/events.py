"""The events of a session: one frozen record each, passed to its hooks and written to its log.

    SchedulesSession(token, hooks=[print])

The event loop calls every hook with each event, in order, after the code of the session that emitted it, in a copy of
the context in which it was emitted. A hook must be fast and must not be async: put slow work into a queue. It may use
the session and its waits. An exception that it raises affects nothing else; the first one of each hook is logged.
No event holds a token. Later versions may add events, so match those that you need and ignore the others:

    def count_429s(event: Event) -> None:
        match event:
            case Throttled(was_open=True, closed_for=seconds):
                metrics.increment("throttled", seconds)
            case WaitEnded(failed=failed, lost=lost) if failed or lost:
                metrics.increment("not succeeded", failed + lost)

The text of an event is one line, which the logger `schedules_async` writes at the event's `log_level`, unless that is
None. At WARNING the log has the answers that throttle the session and the first retry of an outage; at INFO the start
and the end of each wait (a group is one wait), the end of an outage, and renewed tokens; at DEBUG polls and retries.

>>> print(Polled(OperationRef("schedule", "operation"), SchedulesError("reset"), interval=2.5))
poll of schedule/operation: SchedulesError('reset'); next poll in 2.5 s
"""

import logging
from collections.abc import Callable, Collection
from typing import ClassVar

from attrs import frozen

from schedules_async._operations.operation import Operation
from schedules_async._operations.ref import OperationRef
from schedules_async.errors import ResponseError, SchedulesError

__all__ = [
    "Changed",
    "Event",
    "Hook",
    "OutageEnded",
    "Polled",
    "Retried",
    "Throttled",
    "TokenRenewed",
    "WaitBegun",
    "WaitEnded",
]


@frozen(eq=False)
class WaitBegun:
    """A wait for the operations `refs` began; a group is one wait.

    It is emitted at the first use of the waiter, in the context of the task that waits, and equals only itself. A
    waiter that all consumers have left emits another one when it is used again.
    """

    log_level: ClassVar[int | None] = logging.INFO
    refs: frozenset[OperationRef]

    def __str__(self) -> str:
        return f"wait for {_name(self.refs)} began"


@frozen
class WaitEnded:
    """The wait that started with `begun` is over; it took `seconds`, and `polls` is the number of its polls.

    `outcomes` has the final snapshot, or the error, of each operation that has ended for this wait. The others
    were left unfinished: all consumers left, or `interruption`, such as a SessionClosedError, ended the wait.

    >>> from schedules_async import OperationStatus
    >>> begun = WaitBegun(frozenset(OperationRef("schedule", number) for number in "123"))
    >>> done = Operation("1", "schedule", OperationStatus.SUCCEEDED)
    >>> print(WaitEnded(begun, 60.0, 12, (done, SchedulesError("reset"))))
    wait for 3 operations ended: 1 succeeded, 1 lost, 1 left after 60.0 s, polls: 12
    """

    log_level: ClassVar[int | None] = logging.INFO
    begun: WaitBegun
    seconds: float
    polls: int
    outcomes: tuple[Operation | Exception, ...]
    interruption: BaseException | None = None

    @property
    def succeeded(self) -> int:
        """The number of operations that succeeded."""
        return sum(isinstance(outcome, Operation) and outcome.is_succeeded for outcome in self.outcomes)

    @property
    def failed(self) -> int:
        """The number of operations that failed."""
        return sum(isinstance(outcome, Operation) and outcome.is_failed for outcome in self.outcomes)

    @property
    def lost(self) -> int:
        """The number of operations that ended with an error, such as a timeout, a 404 or the last transient fault."""
        return sum(isinstance(outcome, Exception) for outcome in self.outcomes)

    @property
    def left(self) -> int:
        """The number of operations that had not ended when the wait did."""
        return len(self.begun.refs) - len(self.outcomes)

    def __str__(self) -> str:
        how = "left" if self.interruption is None else f"left by {self.interruption!r}"
        if len(self.begun.refs) != 1:
            counts = {"succeeded": self.succeeded, "failed": self.failed, "lost": self.lost, how: self.left}
            how = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
        elif self.outcomes:
            how = _describe(self.outcomes[0])
        return f"wait for {_name(self.begun.refs)} ended: {how} after {self.seconds:.1f} s, polls: {self.polls}"


@frozen
class Polled:
    """A poll of an operation ended: `outcome` is the snapshot that it fetched, or the error.

    `interval` is the seconds until the next poll, None if none is planned. `is_not_modified` is True after a 304.
    `seconds` is the time from sending its last request to reading the answer, by the session's clock; 0 if none was
    sent. A fault that is retried emits Retried instead.
    """

    log_level: ClassVar[int | None] = logging.DEBUG
    ref: OperationRef
    outcome: Operation | BaseException
    is_not_modified: bool = False
    interval: float | None = None
    seconds: float = 0.0

    def __str__(self) -> str:
        not_modified = "not modified, " if self.is_not_modified else ""
        then = "" if self.interval is None else f"; next poll in {self.interval:.1f} s"
        return f"poll of {_name([self.ref])}: {not_modified}{_describe(self.outcome)}{then}"


@frozen
class Changed:
    """A poll found the first snapshot, or one that differs from the last; emitted after Polled and not logged."""

    log_level: ClassVar[int | None] = None
    operation: Operation

    def __str__(self) -> str:
        return f"change of {_name([self.operation.ref])}: {_describe(self.operation)}"


@frozen
class Throttled:
    """An answer throttled the session: it sends no request for `closed_for` seconds from now, or longer.

    `error` is the answer, a 429 or a 503 with Retry-After. `was_open` is True if the gate was open before:
    the session was not yet throttled. Several answers to requests in flight together emit one event each.
    """

    ref: OperationRef
    error: ResponseError
    closed_for: float
    was_open: bool

    @property
    def log_level(self) -> int | None:
        """WARNING for the answer that closed the gate, DEBUG for later ones while it is closed."""
        return logging.WARNING if self.was_open else logging.DEBUG

    def __str__(self) -> str:
        return f"throttled for {self.closed_for:.1f} s by {self.error!r} (poll of {_name([self.ref])})"


@frozen
class Retried:
    """A poll met a transient fault, `error`; its retry number `attempt` starts after `delay` seconds.

    `seconds` is the time from sending the request to the fault. `begins_outage` is True for the first retry of a poll
    unless an outage is under way; an OutageEnded follows once the service answers again.
    """

    ref: OperationRef
    error: SchedulesError
    attempt: int
    delay: float
    seconds: float = 0.0
    begins_outage: bool = False

    @property
    def log_level(self) -> int | None:
        """WARNING for the retry that begins an outage, DEBUG for others."""
        return logging.WARNING if self.begins_outage else logging.DEBUG

    def __str__(self) -> str:
        return f"retry {self.attempt} of {_name([self.ref])} in {self.delay:.1f} s: {self.error!r}"


@frozen
class OutageEnded:
    """The service answers again, `seconds` after the fault with which the outage began."""

    log_level: ClassVar[int | None] = logging.INFO
    seconds: float

    def __str__(self) -> str:
        return f"the service answers again after {self.seconds:.1f} s"


@frozen
class TokenRenewed:
    """The session uses a new token; `was_rejected` is True if a 401 was the reason."""

    log_level: ClassVar[int | None] = logging.INFO
    was_rejected: bool

    def __str__(self) -> str:
        return f"token renewed{' after a 401' if self.was_rejected else ''}"


Event = WaitBegun | WaitEnded | Polled | Changed | Throttled | Retried | OutageEnded | TokenRenewed
Hook = Callable[[Event], object]
"""A callable that takes an event: a function, or an object with `__call__`; what it returns is ignored."""


def _name(refs: Collection[OperationRef]) -> str:
    """Return the ids of one operation, escaped if they are not printable, or the number of several."""
    if len(refs) != 1:
        return f"{len(refs)} operations"
    (ref,) = refs
    text = f"{ref.schedule_id}/{ref.operation_id}"
    return text if text.isprintable() else ascii(text)


def _describe(outcome: Operation | BaseException) -> str:
    if isinstance(outcome, Operation):
        return f"{outcome.status} at {outcome.percent_complete:g} %"
    return repr(outcome)
