"""Adapt the polling policies to a measuring harness that knows nothing of snapshots.

Each factory returns, for one operation, a callable (t, status, fraction, started, u) -> pause in seconds: t seconds
since creation, status "Queued" | "Started" | "Unknown", fraction of the work in 0..1, started seconds from creation to
Started (nan when unknown), u a uniform sample in [0, 1). Each call passes through a snapshot with its
timestamps, and the Date of the answer.
"""

import itertools
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from schedules_async._operations.operation import Operation, OperationStatus
from schedules_async._operations.ref import OperationRef
from schedules_async._polling.forecast import Progress
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


def decide_by(policy: PollingPolicy, number: int) -> Decide:
    """Return the decisions for the operation of that number; they keep its progress so far."""
    progress = Progress()
    ref = OperationRef("schedule", f"operation-{number}")
    seed = jitter_seed(ref)

    def decide(t: float, status: str, fraction: float, started: float, u: float) -> float:
        operation = Operation(
            id=ref.operation_id,
            schedule_id=ref.schedule_id,
            status=OperationStatus(status),
            percent_complete=100 * fraction,
            created_at=CREATED,
            updated_at=None if math.isnan(started) else _after(started),
        )
        progress.observe(operation, BOOTED + t, _after(t))
        return policy.interval(progress, seed, u)

    return decide


def _after(seconds: float) -> datetime:
    return CREATED + timedelta(seconds=seconds)
