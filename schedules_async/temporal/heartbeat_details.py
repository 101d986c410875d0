"""What an attempt in Temporal leaves to the next one, on whatever worker: the newest snapshot and the latest polls."""

import json
from datetime import UTC, datetime
from typing import Any, Self

from attrs import evolve, frozen

from schedules_async._operations.operation import Operation, OperationStatus
from schedules_async._polling.forecast import Progress
from schedules_async.errors import MalformedResponseError

_MAX_POLLS = 12  # every heartbeat carries them; more change no pause by much (tests/test_temporal_memory.py)


@frozen
class PastPoll:
    """What one look showed of the progress; times are seconds since 1970."""

    time: float
    status: OperationStatus
    percent_complete: float
    updated_at: float | None

    @classmethod
    def at(cls, time: float, operation: Operation) -> Self:
        """Take from a snapshot what a policy goes by."""
        updated_at = None if operation.updated_at is None else operation.updated_at.timestamp()
        return cls(round(time, 2), operation.status, operation.percent_complete, updated_at)

    def shows_as(self, other: "PastPoll") -> bool:
        """Tell whether nothing changed between two polls."""
        return self.status is other.status and self.percent_complete == other.percent_complete

    def show_again(self, progress: Progress, operation: Operation) -> None:
        """Let `progress` see the operation as it stood then; the engine's clock stands for the service's."""
        then = evolve(
            operation,
            status=self.status,
            raw_status=self.status.value,
            percent_complete=self.percent_complete,
            updated_at=None if self.updated_at is None else to_date(self.updated_at),
        )
        progress.observe(then, self.time, to_date(self.time))


def to_date(time: float) -> datetime:
    """Give the UTC date of seconds since 1970."""
    return datetime.fromtimestamp(time, UTC)


@frozen
class Memory:
    """The newest snapshot, None before the first, and the looks that tell a policy when to look again.

    As text it is what `Operation.to_json` writes, with the looks added.
    """

    operation: Operation | None = None
    polls: tuple[PastPoll, ...] = ()

    def with_poll(self, time: float, operation: Operation) -> "Memory":
        """Add a look; of the older ones the first and the newest stay."""
        polls = [*self.polls, PastPoll.at(time, operation)]
        if len(polls) > _MAX_POLLS:
            del polls[_least_telling(polls)]
        return Memory(operation, tuple(polls))

    def progress(self) -> Progress:
        """Show the looks to the policy's own memory."""
        progress = Progress()
        if self.operation is not None:
            for look in self.polls:
                look.show_again(progress, self.operation)
        return progress

    def to_json(self) -> str:
        """Write the snapshot, tag included, and the looks; an empty text before the first."""
        if self.operation is None:
            return ""
        polls = [[poll.time, poll.status, poll.percent_complete, poll.updated_at] for poll in self.polls]
        return json.dumps({**json.loads(self.operation.to_json()), "polls": polls}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: object) -> "Memory":
        """Read what `to_json` wrote; whatever else it is reads as nothing, which costs one unconditional look."""
        try:
            operation = Operation.from_json(text) if isinstance(text, str) else None
            memory = cls(operation, _read_polls(text))
            memory.progress()
        except (MalformedResponseError, ValueError, TypeError, AttributeError, OverflowError, OSError):
            return cls()
        return memory


def _least_telling(polls: list[PastPoll]) -> int:
    """Give the oldest look that showed what the one before and the one after it did, else the second."""
    for index in range(1, len(polls) - _MAX_POLLS // 2):
        if polls[index - 1].shows_as(polls[index]) and polls[index].shows_as(polls[index + 1]):
            return index
    return 1


def _read_polls(text: Any) -> tuple[PastPoll, ...]:
    polls = json.loads(text).get("polls", [])
    return tuple(
        PastPoll(float(time), OperationStatus(status), float(percent), None if since is None else float(since))
        for time, status, percent, since in polls
    )
