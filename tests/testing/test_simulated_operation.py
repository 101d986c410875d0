import itertools
import json
import math
from datetime import UTC, datetime
from typing import Any

import pytest

from schedules_async._operations.ref import OperationRef
from schedules_async.testing.simulated_operation import Progress, SimulatedOperation

REF = OperationRef("s", "o")
START = datetime(2026, 1, 1, tzinfo=UTC)


def simulated(ref: OperationRef = REF, **changes: Any) -> SimulatedOperation:
    options = {"zero": START, "requested": 100.0, "queued": 5.0, "duration": 10.0, "progress": "linear", **changes}
    return SimulatedOperation(ref, **options)


@pytest.mark.parametrize(
    ("progress", "percents"),
    [
        ("linear", [0, 10, 50, 99, 100]),
        ("steps", [0, 0, 50, 75, 100]),
        ("stuck", [0, 10, 50, 60, 60]),
        ("none", [0, 0, 0, 0, 0]),
        (lambda fraction: 200 - fraction, [200, 199.9, 199.5, 199.01, 199]),
    ],
)
def test_progress_shape_maps_fraction_to_percent(progress: Progress, percents: list[float]) -> None:
    shape = simulated(progress=progress).shape
    assert [shape(fraction) for fraction in (0, 0.1, 0.5, 0.99, 1)] == pytest.approx(percents)


def test_unknown_progress_raises_value_error() -> None:
    with pytest.raises(ValueError, match="not 'bumpy'"):
        simulated(progress="bumpy")


def state_at(now: float, operation: SimulatedOperation) -> tuple[Any, ...]:
    """Return status, since when in seconds, percent, sub-status and failure."""
    body = json.loads(operation.answer(now).body)["operation"]
    since = datetime.fromisoformat(body["updatedAt"]) - START
    facts = (body[name] for name in ("percentComplete", "subStatus", "failureDescription"))
    return (body["status"], since.total_seconds(), *facts)


@pytest.mark.parametrize(
    ("now", "state"),
    [
        (100, ("Queued", 100, 0, None, None)),
        (104.9, ("Queued", 100, 0, None, None)),
        (105, ("Started", 105, 0, "A", None)),
        (108.33333, ("Started", 105, 33.33, "A", None)),
        (110, ("Started", 105, 50, "B", None)),
        (114.999, ("Started", 105, 99.99, "B", None)),
        (115, ("Succeeded", 115, 100, None, None)),
        (1e9, ("Succeeded", 115, 100, None, None)),
    ],
)
def test_state_follows_time(now: float, state: tuple[Any, ...]) -> None:
    assert state_at(now, simulated(phases=["A", "B"])) == state


@pytest.mark.parametrize(("progress", "percent"), [("linear", 100.0), ("stuck", 60.0)])
def test_failed_operation_keeps_last_percent(progress: Progress, percent: float) -> None:
    operation = simulated(progress=progress, fails_with="no disk", phases=["A"])
    assert state_at(114.9, operation)[3:] == ("A", None)
    assert state_at(115, operation) == ("Failed", 115, percent, "Failed", "no disk")


def test_duration_may_be_zero_or_infinite() -> None:
    assert state_at(100, simulated(queued=0, duration=0))[0] == "Succeeded"
    assert state_at(1e9, simulated(duration=math.inf)) == ("Started", 105, 0, None, None)


def test_etag_changes_exactly_with_body() -> None:
    etags: dict[bytes, str | None] = {}
    tags = []
    for tenths in range(1000, 1200):
        answer = simulated(progress="steps").answer(tenths / 10)
        assert etags.setdefault(answer.body, answer.etag) == answer.etag
        tags.append(answer.etag)
    assert len(set(tags)) == len(etags) == 6
    assert sum(one != other for one, other in itertools.pairwise(tags)) == 5


def test_etags_are_strong_and_differ_between_operations() -> None:
    refs = [OperationRef("s", "p"), OperationRef("t", "o"), REF]
    tags = {simulated(ref, requested=start).answer(100).etag or "" for ref in refs for start in (99.0, 100.0)}
    assert len(tags) == 6
    assert all(tag[0] == tag[-1] == '"' for tag in tags)


def test_answer_has_contract_body() -> None:
    answer = simulated().answer(107.5)
    assert json.loads(answer.body) == {
        "operation": {
            "createdAt": "2026-01-01T00:01:40Z",
            "failureDescription": None,
            "id": "{operation_id}",
            "percentComplete": 25.0,
            "status": "Started",
            "subStatus": None,
            "updatedAt": "2026-01-01T00:01:45Z",
        }
    }
