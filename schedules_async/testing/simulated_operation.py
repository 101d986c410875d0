"""Simulated operations: status and progress are functions of the time alone. Pure."""

import json
import math
from collections.abc import Callable
from datetime import datetime
from typing import Literal

from attrs import frozen

from schedules_async._operations.ref import OperationRef
from schedules_async.testing.answers import Answer
from schedules_async.testing.protocol import make_etag

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
    """Return the function from the elapsed fraction (0 to 1) to percent; raise ValueError for an unknown name."""
    if callable(progress):
        return progress
    if progress not in _SHAPES:
        raise ValueError(f"progress must be one of {', '.join(map(str, _SHAPES))} or a function, not {progress!r}")
    return _SHAPES[progress]


@frozen
class State:
    """The state of an operation at one time; `since` is when it got its status, in seconds of the clock."""

    status: str
    since: float
    percent: float
    sub_status: str | None = None
    failure: str | None = None


@frozen
class SimulatedOperation:
    """An operation that is queued, runs and ends by the clock; times are seconds of the server's clock."""

    ref: OperationRef
    requested: float
    queued: float
    duration: float
    shape: Shape
    phases: tuple[str, ...] = ()
    fails_with: str | None = None

    @property
    def started(self) -> float:
        """The time at which the operation starts to run."""
        return self.requested + self.queued

    @property
    def ended(self) -> float:
        """The time at which the operation ends."""
        return self.started + self.duration

    def state_at(self, now: float) -> State:
        """Return the state at `now`."""
        if now < self.started:
            return State("Queued", self.requested, 0.0)
        if now < self.ended:
            return self._running((now - self.started) / self.duration)
        if self.fails_with is not None:
            return State("Failed", self.ended, round(self.shape(1.0), 2), "Failed", self.fails_with)
        return State("Succeeded", self.ended, 100.0)

    def _running(self, fraction: float) -> State:
        phase = self.phases[int(fraction * len(self.phases))] if self.phases else None
        return State("Started", self.started, round(self.shape(fraction), 2), phase)

    def answer(self, now: float, to_date: Callable[[float], datetime]) -> Answer:
        """Return the service's answer at `now`; `to_date` converts a reading of the clock to a date."""
        state = self.state_at(now)
        operation = {
            "createdAt": to_timestamp(to_date(self.requested)),
            "failureDescription": state.failure,
            "id": self.ref.operation_id,
            "percentComplete": state.percent,
            "status": state.status,
            "subStatus": state.sub_status,
            "updatedAt": to_timestamp(to_date(state.since)),
        }
        body = json.dumps({"operation": operation}).encode()
        return Answer(200, body, {"ETag": make_etag(body)}, is_conditional=True)


def to_timestamp(date: datetime) -> str:
    """Return a UTC date as text in the service's format."""
    return date.isoformat().replace("+00:00", "Z")
