import itertools
import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from schedules_async._operations.ref import OperationRef
from schedules_async.testing.live import LiveOperation, Progress, Standing, to_shape

REF = OperationRef("s", "o")
START = datetime(2026, 1, 1, tzinfo=UTC)


def live(**changes: Any) -> LiveOperation:
    given = {"requested": 100.0, "queued": 5.0, "duration": 10.0, "shape": to_shape("linear"), **changes}
    return LiveOperation(REF, **given)


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
def test_shapes(progress: Progress, percents: list[float]) -> None:
    shape = to_shape(progress)
    assert [shape(fraction) for fraction in (0, 0.1, 0.5, 0.99, 1)] == pytest.approx(percents)


def test_an_unknown_shape_is_refused() -> None:
    name: Any = "bumpy"
    with pytest.raises(ValueError, match="not 'bumpy'"):
        to_shape(name)


@pytest.mark.parametrize(
    ("now", "standing"),
    [
        (100, Standing("Queued", 100, 0)),
        (104.9, Standing("Queued", 100, 0)),
        (105, Standing("Started", 105, 0, "A")),
        (108.33333, Standing("Started", 105, 33.33, "A")),
        (110, Standing("Started", 105, 50, "B")),
        (114.999, Standing("Started", 105, 99.99, "B")),
        (115, Standing("Succeeded", 115, 100)),
        (1e9, Standing("Succeeded", 115, 100)),
    ],
)
def test_life(now: float, standing: Standing) -> None:
    assert live(phases=("A", "B")).standing(now) == standing


@pytest.mark.parametrize(("progress", "percent"), [("linear", 100.0), ("stuck", 60.0)])
def test_a_failure_keeps_the_percent_it_reached(progress: Progress, percent: float) -> None:
    operation = live(shape=to_shape(progress), fails_with="no disk")
    assert operation.standing(115) == Standing("Failed", 115, percent, "Failed", "no disk")


def test_no_duration_at_all_and_an_endless_one() -> None:
    assert live(queued=0, duration=0).standing(100).status == "Succeeded"
    assert live(duration=math.inf).standing(1e9) == Standing("Started", 105, 0)


def test_the_tag_changes_exactly_with_the_body() -> None:
    seen: dict[bytes, str | None] = {}
    tags = []
    for tenths in range(1000, 1200):
        answer = live(shape=to_shape("steps")).answer(tenths / 10, lambda now: START + timedelta(seconds=now))
        assert seen.setdefault(answer.body, answer.etag) == answer.etag
        tags.append(answer.etag)
    assert len(set(tags)) == len(seen) == 6
    assert sum(one != other for one, other in itertools.pairwise(tags)) == 5


def test_the_answer_is_the_contracts() -> None:
    answer = live().answer(107.5, lambda now: START + timedelta(seconds=now))
    assert json.loads(answer.body) == {
        "operation": {
            "createdAt": "2026-01-01T00:01:40Z",
            "failureDescription": None,
            "id": "o",
            "percentComplete": 25.0,
            "status": "Started",
            "subStatus": None,
            "updatedAt": "2026-01-01T00:01:45Z",
        }
    }
