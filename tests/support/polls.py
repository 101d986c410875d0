"""Snapshots that polls fetch, at seconds after noon, and the progress that they make."""

from datetime import UTC, datetime, timedelta

from schedules_async._operations.operation import Operation, OperationStatus
from schedules_async._polling.forecast import Progress

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
BOOTED = 5000.0  # what the monotonic clock reads at noon


def after_noon(seconds: float | None) -> datetime | None:
    return None if seconds is None else NOON + timedelta(seconds=seconds)


def started(percent: float, created: float | None = 0.0, updated: float | None = 0.0) -> Operation:
    return snapshot(OperationStatus.STARTED, percent, created, updated)


def queued(created: float | None = 0.0) -> Operation:
    return snapshot(OperationStatus.QUEUED, 0.0, created, created)


def unknown(created: float | None = 0.0) -> Operation:
    return snapshot(OperationStatus.UNKNOWN, 0.0, created, None)


def snapshot(status: OperationStatus, percent: float, created: float | None, updated: float | None) -> Operation:
    return Operation(
        "operation",
        "schedule",
        status,
        percent_complete=percent,
        created_at=after_noon(created),
        updated_at=after_noon(updated),
    )


def polled(*polls: tuple[float, Operation], dated: bool = True) -> Progress:
    """Return the progress after polls at these seconds after noon."""
    progress = Progress()
    for t, operation in polls:
        progress.observe(operation, BOOTED + t, after_noon(t) if dated else None)
    return progress


def window(progress: Progress) -> tuple[float, float]:
    """Return the ends of the finish window, in seconds from the last poll."""
    assert progress.remaining is not None
    return progress.remaining.low, progress.remaining.high
