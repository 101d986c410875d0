"""Operations alive in time: their status and progress follow from the clock alone. Pure."""

import json
import math
from collections.abc import Callable
from datetime import datetime
from typing import Literal

from attrs import frozen

from schedules_async._operations.ref import OperationRef
from schedules_async.testing.answers import Answer
from schedules_async.testing.contract import tag_of

Shape = Callable[[float], float]
Progress = Literal["linear", "steps", "stuck", "none"] | Shape

_STEPS = 4
_STUCK_AT = 60.0  # percent
_SHAPES: dict[object, Shape] = {
    "linear": lambda fraction: 100 * fraction,
    "steps": lambda fraction: 100 * math.floor(fraction * _STEPS) / _STEPS,
    "stuck": lambda fraction: min(100 * fraction, _STUCK_AT),
    "none": lambda _: 0.0,
}


def to_shape(progress: Progress) -> Shape:
    """Give the function from the fraction of the run (0 to 1) to percent; ValueError for an unknown name."""
    if callable(progress):
        return progress
    if progress not in _SHAPES:
        raise ValueError(f"progress is one of {', '.join(map(str, _SHAPES))} or a function, not {progress!r}")
    return _SHAPES[progress]


@frozen
class Standing:
    """How an operation stands at one moment; `since` is when it reached its status, in seconds of the clock."""

    status: str
    since: float
    percent: float
    sub_status: str | None = None
    failure: str | None = None


@frozen
class LiveOperation:
    """One operation between its request and its end; times are seconds of the server's clock."""

    ref: OperationRef
    requested: float
    queued: float
    duration: float
    shape: Shape
    phases: tuple[str, ...] = ()
    fails_with: str | None = None

    @property
    def started(self) -> float:
        """Give the time when the run begins."""
        return self.requested + self.queued

    @property
    def ended(self) -> float:
        """Give the time when the run ends."""
        return self.started + self.duration

    def standing(self, now: float) -> Standing:
        """Tell how the operation stands at `now`."""
        if now < self.started:
            return Standing("Queued", self.requested, 0.0)
        if now < self.ended:
            return self._running((now - self.started) / self.duration)
        if self.fails_with is not None:
            return Standing("Failed", self.ended, round(self.shape(1.0), 2), "Failed", self.fails_with)
        return Standing("Succeeded", self.ended, 100.0)

    def _running(self, fraction: float) -> Standing:
        phase = self.phases[int(fraction * len(self.phases))] if self.phases else None
        return Standing("Started", self.started, round(self.shape(fraction), 2), phase)

    def answer(self, now: float, to_date: Callable[[float], datetime]) -> Answer:
        """Answer as the service does at `now`; `to_date` tells what the clock's reading means."""
        standing = self.standing(now)
        operation = {
            "createdAt": to_timestamp(to_date(self.requested)),
            "failureDescription": standing.failure,
            "id": self.ref.operation_id,
            "percentComplete": standing.percent,
            "status": standing.status,
            "subStatus": standing.sub_status,
            "updatedAt": to_timestamp(to_date(standing.since)),
        }
        body = json.dumps({"operation": operation}).encode()
        return Answer(200, body, {"ETag": tag_of(body)}, is_conditional=True)


def to_timestamp(date: datetime) -> str:
    """Write a UTC time as the service does."""
    return date.isoformat().replace("+00:00", "Z")
