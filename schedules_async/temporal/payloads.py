"""Payloads of activities and workflows: plain JSON types, without credentials."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

from attrs import evolve, frozen

from schedules_async import errors
from schedules_async._clock import Seconds, to_seconds
from schedules_async._operations.operation import Operation, OperationStatus
from schedules_async._operations.ref import OperationRef
from schedules_async._polling.forecast import Progress

MAX_OPERATIONS = 1000  # of one workflow: its results are one payload, which Temporal limits to 2 MB
_LONGEST_TIME = 10 * 365 * 86400.0  # seconds; more than a timedelta holds would hang the workflow
_MAX_POLLS = 12  # in each heartbeat; more hardly change an interval (tests/temporal/test_payloads.py)
_ERRORS: dict[str, type[errors.SchedulesError]] = {
    name: getattr(errors, name) for name in errors.__all__ if name.endswith("Error")
}


@dataclass(frozen=True, slots=True)
class OperationWait:
    """The argument of an activity; `details` are the heartbeat details of an earlier one for the same operation."""

    schedule_id: str
    operation_id: str
    details: str = ""

    @property
    def ref(self) -> OperationRef:
        """The operation."""
        return OperationRef(self.schedule_id, self.operation_id)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one wait: the final snapshot as JSON, or the class and message of an error."""

    schedule_id: str
    operation_id: str
    operation: str = ""
    error: str = ""
    message: str = ""

    def value(self) -> Operation | errors.SchedulesError:
        """Return the final snapshot, even of a failed operation, or the error that ended the wait."""
        if self.operation:
            return Operation.from_json(self.operation)
        kind = _ERRORS.get(self.error, errors.SchedulesError)
        return kind(self.message, ref=OperationRef(self.schedule_id, self.operation_id))

    @property
    def is_succeeded(self) -> bool:
        """True if the operation succeeded."""
        return bool(self.operation) and Operation.from_json(self.operation).is_succeeded


@dataclass(frozen=True, slots=True)
class WaitRequest:
    """The argument of `WaitForOperations`; create it with `of`, which checks it.

    `outcomes`, `details` and `deadline` are those of the previous run of the workflow.
    """

    refs: list[tuple[str, str]]
    single_polls: bool = False
    stop_at_failure: bool = False
    timeout: float | None = None
    heartbeat_timeout: float = 60.0
    progress_interval: float = 30.0
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)
    deadline: float | None = None

    @classmethod
    def of(
        cls,
        refs: Iterable[OperationRef | tuple[str, str]],
        *,
        single_polls: bool = False,
        stop_at_failure: bool = False,
        timeout: Seconds | None = None,
        heartbeat_timeout: Seconds = 60.0,
        progress_interval: Seconds = 30.0,
    ) -> "WaitRequest":
        """Return a request to wait for at most 1,000 operations; duplicates are waited for once.

        With `single_polls` each attempt of an activity is one poll, and an operation occupies no slot of a worker
        between two polls; otherwise it occupies one for the whole wait. With `stop_at_failure` the workflow fails
        with the first operation that does not succeed. `timeout` bounds the whole wait. A worker that has died is
        detected after `heartbeat_timeout`. The progress is updated every `progress_interval`. Times are seconds or
        a timedelta, and cut to ten years; raise ValueError if one is not positive, an id is invalid or there are too
        many operations.
        """
        pairs = [(ref.schedule_id, ref.operation_id) for ref in (OperationRef(*pair) for pair in refs)]
        if len(set(pairs)) > MAX_OPERATIONS:
            raise ValueError(f"one workflow can wait for at most {MAX_OPERATIONS} operations, not {len(set(pairs))}")
        return cls(
            pairs,
            single_polls,
            stop_at_failure,
            None if timeout in (None, math.inf) else _positive("timeout", timeout),
            _positive("heartbeat_timeout", heartbeat_timeout),
            _positive("progress_interval", progress_interval),
        )


def _positive(name: str, value: Seconds) -> float:
    seconds = to_seconds(value)
    if not 0 < seconds < math.inf:
        raise ValueError(f"{name} must be positive and finite, not {seconds}")
    return min(seconds, _LONGEST_TIME)


@dataclass(frozen=True, slots=True)
class WaitProgress:
    """The progress of a workflow; `percents` are in the order of the request, and an ended operation counts as 100."""

    total: int
    ended: int
    percents: list[float]

    @property
    def percent_complete(self) -> float:
        """The mean over all operations; 100 if there are none."""
        return sum(self.percents) / len(self.percents) if self.percents else 100.0


@frozen
class HeartbeatDetails:
    """The latest snapshot, or None before the first, and the polls from which a policy derives the interval.

    Each poll is its time, the status, the progress and `updatedAt`; times are seconds since 1970. The next attempt
    starts from these details on any worker; their text form is that of `Operation.to_json` with the polls added.
    """

    operation: Operation | None = None
    polls: tuple[tuple[float, str, float, float | None], ...] = ()

    def with_poll(self, time: float, operation: Operation) -> "HeartbeatDetails":
        """Return details with one more poll; of too many, drop the oldest between two equal ones, or the second."""
        updated_at = None if operation.updated_at is None else operation.updated_at.timestamp()
        polls = [*self.polls, (round(time, 2), operation.status.value, operation.percent_complete, updated_at)]
        if len(polls) > _MAX_POLLS:
            found = [poll[1:3] for poll in polls]
            oldest = range(1, len(polls) - _MAX_POLLS // 2)
            del polls[next((at for at in oldest if found[at - 1] == found[at] == found[at + 1]), 1)]
        return HeartbeatDetails(operation, tuple(polls))

    def progress(self) -> Progress:
        """Return the progress that a policy derives from these polls; Temporal's clock replaces the service's."""
        progress = Progress()
        for time, status, percent_complete, updated_at in self.polls:
            operation = evolve(
                cast("Operation", self.operation),
                status=OperationStatus(status),
                raw_status=status,
                percent_complete=percent_complete,
                updated_at=None if updated_at is None else datetime.fromtimestamp(updated_at, UTC),
            )
            progress.observe(operation, time, datetime.fromtimestamp(time, UTC))
        return progress

    def to_json(self) -> str:
        """Return the snapshot, with its ETag, and the polls as text; empty before the first snapshot."""
        if self.operation is None:
            return ""
        return json.dumps({"operation": self.operation.to_dict(), "polls": self.polls}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: Any) -> "HeartbeatDetails":
        """Return the details that `to_json` wrote; for other text, empty ones, which cost one unconditional poll."""
        try:
            details = cls(Operation.from_json(text), tuple(map(tuple, json.loads(text).get("polls", []))))
            details.progress()
        except (errors.MalformedResponseError, ValueError, TypeError, AttributeError, OverflowError, OSError):
            return cls()
        return details


def to_percents(details: Mapping[str, str]) -> dict[str, float]:
    """Return the percent complete of each wait whose heartbeat details have a snapshot."""
    latest = {wait: HeartbeatDetails.from_json(text).operation for wait, text in details.items()}
    return {wait: 100 * operation.fraction for wait, operation in latest.items() if operation is not None}
