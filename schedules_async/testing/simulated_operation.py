"""Simulated operations: status and progress are functions of the time alone. Pure."""

import hashlib
import math
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Literal

from attrs import field, frozen

from schedules_async._clock import to_seconds
from schedules_async._operations.ref import OperationRef
from schedules_async.testing.answers import Answer, operation_answer

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


def _to_shape(progress: Progress) -> Shape:
    """Return the function from the elapsed fraction (0 to 1) to percent; raise ValueError for an unknown name."""
    if callable(progress):
        return progress
    if progress not in _SHAPES:
        raise ValueError(f"progress must be one of {', '.join(map(str, _SHAPES))} or a function, not {progress!r}")
    return _SHAPES[progress]


def _to_phases(sub_status: str | Sequence[str] | None) -> tuple[str, ...]:
    return (sub_status,) if isinstance(sub_status, str) else tuple(sub_status or ())


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
    queued: float = field(converter=to_seconds)
    duration: float = field(converter=to_seconds)
    shape: Shape = field(alias="progress", converter=_to_shape)
    phases: tuple[str, ...] = field(default=(), alias="sub_status", converter=_to_phases)
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
            fraction = (now - self.started) / self.duration
            phase = self.phases[int(fraction * len(self.phases))] if self.phases else None
            return State("Started", self.started, round(self.shape(fraction), 2), phase)
        if self.fails_with is not None:
            return State("Failed", self.ended, round(self.shape(1.0), 2), "Failed", self.fails_with)
        return State("Succeeded", self.ended, 100.0)

    def answer(self, now: float, to_date: Callable[[float], datetime]) -> Answer:
        """Return the service's answer at `now`; `to_date` converts a reading of the clock to a date."""
        state = self.state_at(now)
        return operation_answer(
            state.status,
            percent_complete=state.percent,
            etag=f'"{hashlib.sha256(repr((self.ref, state)).encode()).hexdigest()[:16]}"',
            sub_status=state.sub_status,
            failure_description=state.failure,
            created_at=_to_timestamp(to_date(self.requested)),
            updated_at=_to_timestamp(to_date(state.since)),
            is_conditional=True,
        )


def _to_timestamp(date: datetime) -> str:
    """Return a UTC date as text in the service's format."""
    return date.isoformat().replace("+00:00", "Z")
