"""What travels through Temporal: plain JSON types, without credentials; workers own the auth."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from schedules_async import errors
from schedules_async._clock import Seconds, to_seconds
from schedules_async._operations.operation import Operation
from schedules_async._operations.ref import OperationRef
from schedules_async.errors import SchedulesError

MOST_OPERATIONS = 1000  # of one workflow: its results are one payload, for which the engine has a limit of 2 MB
_ERRORS: dict[str, type[SchedulesError]] = {
    name: getattr(errors, name) for name in errors.__all__ if name.endswith("Error")
}


@dataclass(frozen=True)
class OperationWait:
    """What an activity waits for; `memory` is what an earlier one left."""

    schedule_id: str
    operation_id: str
    memory: str = ""

    @property
    def ref(self) -> OperationRef:
        """Name the operation."""
        return OperationRef(self.schedule_id, self.operation_id)


@dataclass(frozen=True)
class Outcome:
    """How the wait for one operation ended: with its final snapshot as JSON, or with an error's class and message."""

    schedule_id: str
    operation_id: str
    operation: str = ""
    error: str = ""
    message: str = ""

    def value(self) -> Operation | SchedulesError:
        """Give the snapshot, Failed ones included, or the error that there is none."""
        if self.operation:
            return Operation.from_json(self.operation)
        kind = _ERRORS.get(self.error, SchedulesError)
        return kind(self.message, ref=OperationRef(self.schedule_id, self.operation_id))

    @property
    def is_succeeded(self) -> bool:
        """Tell whether the operation ended well."""
        value = self.value()
        return isinstance(value, Operation) and value.is_succeeded


@dataclass(frozen=True)
class Carried:
    """What one run of a workflow hands to the next."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    memories: dict[str, str] = field(default_factory=dict)
    deadline: float | None = None


@dataclass(frozen=True)
class WaitRequest:
    """What `WaitForOperations` is to wait for, and how; make it with `of`, which checks it."""

    refs: list[tuple[str, str]]
    single_polls: bool = False
    stop_at_failure: bool = False
    timeout: float | None = None
    heartbeat_timeout: float = 60.0
    progress_interval: float = 30.0
    carried: Carried | None = None

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
        """Ask for at most 1,000 operations; duplicates cost nothing.

        With `single_polls` each attempt of an activity is one look, and nothing is held in between; else a
        worker holds a slot for each wait. `stop_at_failure` fails the workflow with the first operation that
        does not succeed. `timeout` bounds the whole wait. A killed worker is noticed after
        `heartbeat_timeout`. The workflow's queries know the progress of every `progress_interval` seconds.
        """
        pairs = [(ref.schedule_id, ref.operation_id) for ref in (OperationRef(*pair) for pair in refs)]
        if len(set(pairs)) > MOST_OPERATIONS:
            raise ValueError(f"one workflow waits for at most {MOST_OPERATIONS} operations, not {len(set(pairs))}")
        return cls(
            pairs,
            single_polls,
            stop_at_failure,
            None if timeout is None else _positive("timeout", timeout),
            _positive("heartbeat_timeout", heartbeat_timeout),
            _positive("progress_interval", progress_interval),
        )


def _positive(name: str, value: Seconds) -> float:
    seconds = to_seconds(value)
    if not seconds > 0:
        raise ValueError(f"{name} must be positive, and is {seconds}")
    return seconds


@dataclass(frozen=True)
class WaitProgress:
    """How far a workflow is; `percents` are in the order asked, an ended operation counts 100."""

    total: int
    ended: int
    percents: list[float]

    @property
    def percent_complete(self) -> float:
        """Give the mean over all operations; 100 without any."""
        return sum(self.percents) / len(self.percents) if self.percents else 100.0
