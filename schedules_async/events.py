"""What a session tells of its work, as it happens: one frozen record for each event, to its hooks.

    SchedulesSession(token, hooks=[print])

A hook is called with each record, on the event loop and in the midst of the session's work: it must be quick, and
not async. What it raises disturbs nobody; the first time it is logged. As text a record is one line, the one that
the logger `schedules_async` writes of it. No record holds a token. There may be more kinds of records one day.

>>> print(Polled(OperationRef("schedule", "operation"), SchedulesError("reset"), pause=2.5))
look at schedule/operation: SchedulesError('reset'); next look in 2.5 s
"""

import logging
from typing import ClassVar, Protocol

from attrs import frozen

from schedules_async._exports import name_exports
from schedules_async._operations.operation import Operation
from schedules_async._operations.ref import OperationRef
from schedules_async.errors import ResponseError, SchedulesError

__all__ = [
    "Changed",
    "Event",
    "Hook",
    "Polled",
    "Retried",
    "Throttled",
    "TokenRenewed",
    "WaitBegun",
    "WaitEnded",
]


@frozen(eq=False)
class WaitBegun:
    """Somebody waits for these operations: for one, or for a group. It equals no other, and leads to its WaitEnded.

    Told where the wait is first used, in the context of the task that waits. A wait that everybody left and that is
    used again begins again.
    """

    log_level: ClassVar[int | None] = logging.INFO

    refs: frozenset[OperationRef]

    def __str__(self) -> str:
        return f"wait for {_name(self.refs)} began"


@frozen
class WaitEnded:
    """The wait that `begun` told of is over after `seconds` and `looks` at its operations.

    `outcomes` has the final snapshot of each operation that has ended for this wait, or the error that it is lost
    by. Operations that are in none of them were left: nobody waits any more, or `interruption` ended the wait,
    as SessionClosedError does.

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
        """Count the operations that ended well."""
        return sum(isinstance(outcome, Operation) and outcome.is_succeeded for outcome in self.outcomes)

    @property
    def failed(self) -> int:
        """Count the operations that ended badly."""
        return sum(isinstance(outcome, Operation) and outcome.is_failed for outcome in self.outcomes)

    @property
    def lost(self) -> int:
        """Count the operations that an error took: their timeouts, a 404, faults that did not pass."""
        return sum(isinstance(outcome, Exception) for outcome in self.outcomes)

    @property
    def left(self) -> int:
        """Count the operations that had not ended when the waiting did."""
        return len(self.begun.refs) - len(self.outcomes)

    def __str__(self) -> str:
        return f"wait for {_name(self.begun.refs)} ended: {self._how()} after {self.seconds:.1f} s, polls: {self.polls}"

    def _how(self) -> str:
        left = "left" if self.interruption is None else f"left by {self.interruption!r}"
        if len(self.begun.refs) == 1:
            return _describe(self.outcomes[0]) if self.outcomes else left
        counts = {"succeeded": self.succeeded, "failed": self.failed, "lost": self.lost, left: self.left}
        return ", ".join(f"{count} {how}" for how, count in counts.items() if count)


@frozen
class Polled:
    """A look at an operation came to something: `outcome` is the snapshot, or the error that it ended with.

    `pause` is the seconds until the next look that anybody wants, None where nobody wants one. `is_not_modified`
    tells of a 304. The repeats of a look are not told so, each is a Retried.
    """

    log_level: ClassVar[int | None] = logging.DEBUG

    ref: OperationRef
    outcome: Operation | BaseException
    is_not_modified: bool = False
    pause: float | None = None

    def __str__(self) -> str:
        not_modified = "not modified, " if self.is_not_modified else ""
        then = "" if self.pause is None else f"; next look in {self.pause:.1f} s"
        return f"look at {_name([self.ref])}: {not_modified}{_describe(self.outcome)}{then}"


@frozen
class Changed:
    """A look found an operation other than before; the first snapshot counts. Told after its Polled, and not logged."""

    log_level: ClassVar[int | None] = None

    operation: Operation

    def __str__(self) -> str:
        return f"change of {_name([self.operation.ref])}: {_describe(self.operation)}"


@frozen
class Throttled:
    """The service refused a request: for `pause` seconds from now on the session sends nothing, or longer.

    `was_open` tells that the session was free to send before. The answers to requests that were under way together
    are told one by one.
    """

    ref: OperationRef
    error: ResponseError
    pause: float
    was_open: bool

    @property
    def log_level(self) -> int | None:
        """WARNING for the first of the answers that closed the gate, DEBUG for the others."""
        return logging.WARNING if self.was_open else logging.DEBUG

    def __str__(self) -> str:
        return f"throttled: no request for {self.pause:.1f} s, by {self.error!r} at {_name([self.ref])}"


@frozen
class Retried:
    """The `faults`-th fault in a row at one look; it is repeated after `pause` seconds."""

    log_level: ClassVar[int | None] = logging.DEBUG

    ref: OperationRef
    error: SchedulesError
    faults: int
    pause: float

    def __str__(self) -> str:
        return f"look at {_name([self.ref])}: {self.error!r}, fault {self.faults}; again in {self.pause:.1f} s"


@frozen
class TokenRenewed:
    """Requests carry another token than before; `was_rejected` tells that a 401 was why."""

    log_level: ClassVar[int | None] = logging.INFO

    was_rejected: bool

    def __str__(self) -> str:
        return f"token renewed{' after a 401' if self.was_rejected else ''}"


Event = WaitBegun | WaitEnded | Polled | Changed | Throttled | Retried | TokenRenewed


class Hook(Protocol):
    """Whatever takes an event: a function, or an object with `__call__`."""

    def __call__(self, event: Event, /) -> object:
        """Take an event; what is given back goes nowhere."""


def _name(refs: "frozenset[OperationRef] | list[OperationRef]") -> str:
    """Name one operation, and count many; an id that would break the line is escaped."""
    if len(refs) != 1:
        return f"{len(refs)} operations"
    (ref,) = refs
    text = f"{ref.schedule_id}/{ref.operation_id}"
    return text if text.isprintable() else ascii(text)


def _describe(outcome: Operation | BaseException) -> str:
    """Say what a look or a wait came to, in words of this library or escaped."""
    if isinstance(outcome, Operation):
        return f"{outcome.status} at {outcome.percent_complete:g} %"
    return repr(outcome)


name_exports(__name__, globals(), __all__)
