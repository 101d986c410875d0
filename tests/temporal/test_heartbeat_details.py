import json
import random
from datetime import UTC, datetime
from statistics import fmean

import pytest
from simulation import SHAPES, Run, workload

from schedules_async import Operation, OperationStatus, PollingPolicy
from schedules_async._polling.forecast import Progress
from schedules_async.temporal.heartbeat_details import HeartbeatDetails, PastPoll, to_date

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()
POLICY = PollingPolicy()
SNAPSHOT = Operation(
    "o",
    "s",
    OperationStatus.STARTED,
    percent_complete=40.5,
    created_at=to_date(NOON - 90),
    updated_at=to_date(NOON - 60),
)


def snapshot_at(run: Run, t: float) -> Operation:
    """Return the snapshot of a run that was requested at noon."""
    status, fraction, started = run.see(t)
    since = NOON if status == "Queued" else NOON + started
    return Operation(
        "o",
        "s",
        OperationStatus(status),
        percent_complete=round(100 * fraction, 2),
        created_at=to_date(NOON),
        updated_at=to_date(since),
    )


def polls_in_one_process(run: Run, sample: random.Random) -> int:
    progress, t, polls = Progress(), 0.0, 1
    while t < run.total:
        progress.observe(snapshot_at(run, t), NOON + t, to_date(NOON + t))
        t += POLICY.interval(progress, 0.5, sample.random())
        polls += 1
    return polls


def polls_with_a_new_process_each(run: Run, sample: random.Random) -> int:
    text, t, polls = "", 0.0, 1
    while t < run.total:
        details = HeartbeatDetails.from_json(text).with_poll(NOON + t, snapshot_at(run, t))
        t += POLICY.interval(details.progress(), 0.5, sample.random())
        text = details.to_json()
        polls += 1
    return polls


@pytest.mark.parametrize("shape", SHAPES)
def test_polls_kept_as_text_yield_equal_intervals(shape: str) -> None:
    """Twelve polls lead to as many requests as all of them, within 10 percent over a workload."""
    runs = list(workload(SHAPES[shape], 10, random.Random(7)))
    here = fmean(polls_in_one_process(run, random.Random(1)) for run in runs)
    there = fmean(polls_with_a_new_process_each(run, random.Random(1)) for run in runs)
    assert there == pytest.approx(here, rel=0.1)


def test_text_is_operation_json_with_polls() -> None:
    details = HeartbeatDetails().with_poll(NOON, SNAPSHOT)
    assert json.loads(details.to_json())["polls"] == [[NOON, "Started", 40.5, NOON - 60]]
    assert Operation.from_json(details.to_json()) == SNAPSHOT
    assert HeartbeatDetails.from_json(details.to_json()) == details
    assert HeartbeatDetails.from_json(SNAPSHOT.to_json()) == HeartbeatDetails(SNAPSHOT)
    assert HeartbeatDetails().to_json() == ""


def test_text_contains_etag() -> None:
    tagged = Operation("o", "s", OperationStatus.QUEUED, etag='W/"a"')
    read = HeartbeatDetails.from_json(HeartbeatDetails(tagged).to_json()).operation
    assert read is not None
    assert read.etag == 'W/"a"'


def test_missing_updated_at_is_kept_as_none() -> None:
    details = HeartbeatDetails().with_poll(NOON, Operation("o", "s", OperationStatus.STARTED, percent_complete=30.0))
    assert HeartbeatDetails.from_json(details.to_json()).polls == (PastPoll(NOON, OperationStatus.STARTED, 30.0, None),)
    assert details.progress().remaining is None


def test_polls_keep_first_changes_and_latest() -> None:
    details = HeartbeatDetails()
    percents = [0.0, 25.0, *[50.0] * 400, 75.0]
    for number, percent in enumerate(percents):
        operation = Operation("o", "s", OperationStatus.STARTED, percent_complete=percent)
        details = details.with_poll(NOON + 10 * number, operation)
    assert len(details.polls) == 12
    assert [poll.percent_complete for poll in details.polls][:3] == [0.0, 25.0, 50.0]
    assert [poll.time for poll in details.polls][:2] == [NOON, NOON + 10]
    assert details.polls[-1].percent_complete == 75.0
    assert len(details.to_json()) < 1500


def test_many_changes_keep_first_and_latest() -> None:
    details = HeartbeatDetails()
    for number in range(50):
        operation = Operation("o", "s", OperationStatus.STARTED, percent_complete=number)
        details = details.with_poll(NOON + number, operation)
    assert [poll.percent_complete for poll in details.polls] == [0.0, *map(float, range(39, 50))]


@pytest.mark.parametrize(
    "text",
    [
        None,
        7,
        "",
        "nonsense",
        "[]",
        '{"operation": {}}',
        SNAPSHOT.to_json()[:-1] + ', "polls": 7}',
        SNAPSHOT.to_json()[:-1] + ', "polls": [[1, "Started", 5]]}',
        SNAPSHOT.to_json()[:-1] + ', "polls": [[1, "Dancing", 5, null]]}',
        SNAPSHOT.to_json()[:-1] + ', "polls": [["x", "Started", 5, null]]}',
        SNAPSHOT.to_json()[:-1] + ', "polls": [[null, "Started", 5, null]]}',
    ],
)
def test_unreadable_text_gives_empty_details(text: object) -> None:
    assert HeartbeatDetails.from_json(text) == HeartbeatDetails()


@pytest.mark.parametrize("time", ["1e300", "NaN", "-1e300"])
def test_invalid_time_gives_empty_details(time: str) -> None:
    assert (
        HeartbeatDetails.from_json(SNAPSHOT.to_json()[:-1] + f', "polls": [[{time}, "Started", 5, null]]}}')
        == HeartbeatDetails()
    )
