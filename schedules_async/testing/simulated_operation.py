"""Simulated operations: status and progress are functions of the time alone. Pure."""

import hashlib
import math
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Literal

from attrs import evolve, field, frozen

from schedules_async._clock import to_seconds
from schedules_async._operations.ref import OperationRef
from schedules_async.testing.answers import Answer, operation_answer

Shape = Callable[[float], float]
Progress = Literal["linear", "steps", "stuck", "none"] | Shape

_SHAPES: dict[object, Shape] = {
    "linear": lambda fraction: 100 * fraction,
    "steps": lambda fraction: 25.0 * math.floor(4 * fraction),
    "stuck": lambda fraction: min(100 * fraction, 60.0),
    "none": lambda _: 0.0,
}


def _to_shape(progress: Progress) -> Shape:
    """Return the function from the elapsed fraction (0 to 1) to percent; raise ValueError for an unknown name."""
    shape = progress if callable(progress) else _SHAPES.get(progress)
    if shape is None:
        raise ValueError(f"progress must be one of {', '.join(map(str, _SHAPES))} or a function, not {progress!r}")
    return shape


@frozen
class SimulatedOperation:
    """An operation that is queued, runs and ends by the clock, which reads zero at the date `zero`."""

    ref: OperationRef
    zero: datetime
    requested: float
    queued: float = field(converter=to_seconds)
    duration: float = field(converter=to_seconds)
    shape: Shape = field(alias="progress", converter=_to_shape)
    phases: Sequence[str] = ()
    fails_with: str | None = None

    def answer(self, now: float) -> Answer:
        """Return the service's answer at `now`."""
        started = self.requested + self.queued
        ended = started + self.duration
        if now < started:
            return self._answer("Queued", self.requested, 0.0)
        if now < ended:
            fraction = (now - started) / self.duration
            phase = self.phases[int(fraction * len(self.phases))] if self.phases else None
            return self._answer("Started", started, self.shape(fraction), phase)
        if self.fails_with is None:
            return self._answer("Succeeded", ended, 100.0)
        return self._answer("Failed", ended, self.shape(1.0), "Failed")

    def _answer(self, status: str, since: float, percent: float, sub_status: str | None = None) -> Answer:
        created, updated = (self.zero + timedelta(seconds=reading) for reading in (self.requested, since))
        answer = operation_answer(
            status,
            percent_complete=round(percent, 2),
            sub_status=sub_status,
            failure_description=self.fails_with if status == "Failed" else None,
            created_at=created.isoformat().replace("+00:00", "Z"),
            updated_at=updated.isoformat().replace("+00:00", "Z"),
            is_conditional=True,
        )
        tag = hashlib.sha256(str(self.ref).encode() + answer.body).hexdigest()[:16]
        return evolve(answer, headers={"ETag": f'"{tag}"'})
