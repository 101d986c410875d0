"""Adapt the polling policies to a measuring harness that knows nothing of snapshots.

Each factory returns, for one operation, a callable (t, status, fraction, since, u) -> pause in seconds: t seconds since
creation, status "Queued" | "Started" | "Unknown" | "Succeeded", fraction of the work in 0..1, since seconds from
creation to that status (nan when unknown), u a uniform sample in [0, 1). Each call passes through a snapshot with its
timestamps, and the Date of the answer. A factory for a session returns a function that returns such a callable for
the session's next operation.
"""

import itertools
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from attrs import define, field

from schedules_async._operations.operation import Operation, OperationStatus
from schedules_async._operations.ref import OperationRef
from schedules_async._polling.experience import Experience
from schedules_async._polling.forecast import Progress, TimeRemaining
from schedules_async._polling.policy import PollingPolicy, jitter_seed

Decide = Callable[[float, str, float, float, float], float]

CREATED = datetime(2026, 1, 1, tzinfo=UTC)
BOOTED = 1000.0  # what the monotonic clock read when the operation was created
_NUMBERS = itertools.count()


def default() -> Decide:
    return decide_by(PollingPolicy(), next(_NUMBERS))


def eager() -> Decide:
    return decide_by(PollingPolicy.EAGER, next(_NUMBERS))


def frugal() -> Decide:
    return decide_by(PollingPolicy.FRUGAL, next(_NUMBERS))


def default_session() -> Callable[[], Decide]:
    return learn_by(PollingPolicy())


def eager_session() -> Callable[[], Decide]:
    return learn_by(PollingPolicy.EAGER)


def frugal_session() -> Callable[[], Decide]:
    return learn_by(PollingPolicy.FRUGAL)


def learn_by(policy: PollingPolicy) -> Callable[[], Decide]:
    """Return a function that begins the next operation of a session: it returns decisions that share experience."""
    experience = Experience()
    return lambda: decide_by(policy, next(_NUMBERS), experience)


def alone(policy: PollingPolicy) -> Callable[[], Decide]:
    """Return the same for a session that does not learn."""
    return lambda: decide_by(policy, next(_NUMBERS))


def decide_by(policy: PollingPolicy, number: int, experience: Experience | None = None) -> Decide:
    """Return the decisions for the operation of that number; they keep its progress so far."""
    return Decisions(policy, OperationRef("schedule", f"operation-{number}"), experience)


@define(eq=False)
class Decisions:
    """The decisions for one operation, from a poll each; "Succeeded" is what there is to learn from."""

    policy: PollingPolicy
    ref: OperationRef
    experience: Experience | None
    progress: Progress = field(factory=Progress)

    def __call__(self, t: float, status: str, fraction: float, since: float, u: float) -> float:
        operation = Operation(
            id=self.ref.operation_id,
            schedule_id=self.ref.schedule_id,
            status=OperationStatus(status),
            percent_complete=100 * fraction,
            created_at=CREATED,
            updated_at=None if math.isnan(since) else _after(since),
        )
        if operation.is_done:
            self._learn(operation, t)
            return 0.0
        self.progress.observe(operation, BOOTED + t, _after(t))
        if self.experience is not None:
            self.progress.consult(self.experience)
        return self.policy.interval(self.progress, jitter_seed(self.ref), u)

    def time_remaining(self, t: float) -> TimeRemaining | None:
        """Return the range in which the operation is expected to end, in seconds after `t`."""
        return self.progress.time_remaining(BOOTED + t)

    def _learn(self, operation: Operation, t: float) -> None:
        if self.experience is not None:
            self.progress.teach(self.experience, operation, BOOTED + t, _after(t))


def _after(seconds: float) -> datetime:
    return CREATED + timedelta(seconds=seconds)
