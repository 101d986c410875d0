import itertools
import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from schedules_async._operations.ref import OperationRef
from schedules_async.testing.simulated_operation import Progress, SimulatedOperation, State

REF = OperationRef("s", "o")
START = datetime(2026, 1, 1, tzinfo=UTC)


def simulated(ref: OperationRef = REF, **changes: Any) -> SimulatedOperation:
    options = {"requested": 100.0, "queued": 5.0, "duration": 10.0, "progress": "linear", **changes}
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


@pytest.mark.parametrize(
    ("now", "state"),
    [
        (100, State("Queued", 100, 0)),
        (104.9, State("Queued", 100, 0)),
        (105, State("Started", 105, 0, "A")),
        (108.33333, State("Started", 105, 33.33, "A")),
        (110, State("Started", 105, 50, "B")),
        (114.999, State("Started", 105, 99.99, "B")),
        (115, State("Succeeded", 115, 100)),
        (1e9, State("Succeeded", 115, 100)),
    ],
)
def test_state_follows_time(now: float, state: State) -> None:
    assert simulated(sub_status=["A", "B"]).state_at(now) == state


@pytest.mark.parametrize(("progress", "percent"), [("linear", 100.0), ("stuck", 60.0)])
def test_failed_operation_keeps_last_percent(progress: Progress, percent: float) -> None:
    operation = simulated(progress=progress, fails_with="no disk")
    assert operation.state_at(115) == State("Failed", 115, percent, "Failed", "no disk")


def test_duration_may_be_zero_or_infinite() -> None:
    assert simulated(queued=0, duration=0).state_at(100).status == "Succeeded"
    assert simulated(duration=math.inf).state_at(1e9) == State("Started", 105, 0)


def test_etag_changes_exactly_with_body() -> None:
    etags: dict[bytes, str | None] = {}
    tags = []
    for tenths in range(1000, 1200):
        answer = simulated(progress="steps").answer(tenths / 10, lambda now: START + timedelta(seconds=now))
        assert etags.setdefault(answer.body, answer.etag) == answer.etag
        tags.append(answer.etag)
    assert len(set(tags)) == len(etags) == 6
    assert sum(one != other for one, other in itertools.pairwise(tags)) == 5


def test_etags_are_strong_and_differ_between_operations() -> None:
    others = [OperationRef("s", "p"), OperationRef("t", "o"), REF]
    tags = {simulated(ref).answer(100, lambda _: START).etag or "" for ref in others}
    assert len(tags) == 3
    assert all(tag[0] == tag[-1] == '"' for tag in tags)


def test_answer_has_contract_body() -> None:
    answer = simulated().answer(107.5, lambda now: START + timedelta(seconds=now))
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
