"""The details of a heartbeat, from which the next attempt starts on any worker: the latest snapshot and polls."""

import json
from datetime import UTC, datetime
from typing import Any

from attrs import evolve, frozen

from schedules_async._operations.operation import Operation, OperationStatus
from schedules_async._polling.forecast import Progress
from schedules_async.errors import MalformedResponseError

_MAX_POLLS = 12  # in each heartbeat; more hardly change an interval (tests/temporal/test_heartbeat_details.py)


@frozen
class PastPoll:
    """The progress that one poll found; times are seconds since 1970."""

    time: float
    status: OperationStatus
    percent_complete: float
    updated_at: float | None


def to_date(time: float) -> datetime:
    """Return the UTC date of seconds since 1970."""
    return datetime.fromtimestamp(time, UTC)


@frozen
class HeartbeatDetails:
    """The latest snapshot, or None before the first, and the polls from which a policy derives the interval.

    The text form is that of `Operation.to_json` with the polls added.
    """

    operation: Operation | None = None
    polls: tuple[PastPoll, ...] = ()

    def with_poll(self, time: float, operation: Operation) -> "HeartbeatDetails":
        """Return details with one more poll; of the earlier ones the first and the latest are kept."""
        updated_at = None if operation.updated_at is None else operation.updated_at.timestamp()
        polls = [*self.polls, PastPoll(round(time, 2), operation.status, operation.percent_complete, updated_at)]
        if len(polls) > _MAX_POLLS:
            del polls[_most_redundant(polls)]
        return HeartbeatDetails(operation, tuple(polls))

    def progress(self) -> Progress:
        """Return the progress that a policy derives from these polls; Temporal's clock replaces the service's."""
        progress = Progress()
        if self.operation is None:
            return progress
        for poll in self.polls:
            snapshot = evolve(
                self.operation,
                status=poll.status,
                raw_status=poll.status.value,
                percent_complete=poll.percent_complete,
                updated_at=None if poll.updated_at is None else to_date(poll.updated_at),
            )
            progress.observe(snapshot, poll.time, to_date(poll.time))
        return progress

    def to_json(self) -> str:
        """Return the snapshot, with its ETag, and the polls as text; empty before the first snapshot."""
        if self.operation is None:
            return ""
        polls = [[poll.time, poll.status, poll.percent_complete, poll.updated_at] for poll in self.polls]
        return json.dumps({**json.loads(self.operation.to_json()), "polls": polls}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: object) -> "HeartbeatDetails":
        """Return the details that `to_json` wrote; for other text, empty ones, which cost one unconditional poll."""
        try:
            operation = Operation.from_json(text) if isinstance(text, str) else None
            details = cls(operation, _read_polls(text))
            details.progress()
        except (MalformedResponseError, ValueError, TypeError, AttributeError, OverflowError, OSError):
            return cls()
        return details


def _most_redundant(polls: list[PastPoll]) -> int:
    """Return the index of the oldest poll that equals both its neighbours, or else of the second poll."""
    found = [(poll.status, poll.percent_complete) for poll in polls]
    for index in range(1, len(polls) - _MAX_POLLS // 2):
        if found[index - 1] == found[index] == found[index + 1]:
            return index
    return 1


def _read_polls(text: Any) -> tuple[PastPoll, ...]:
    polls = json.loads(text).get("polls", [])
    return tuple(
        PastPoll(float(time), OperationStatus(status), float(percent), None if since is None else float(since))
        for time, status, percent, since in polls
    )
