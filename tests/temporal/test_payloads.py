import json
import math
import random
from datetime import UTC, datetime, timedelta
from statistics import fmean

import pytest
from simulation import SHAPES, Run, workload
from temporalio.converter import DataConverter

from schedules_async import NotFoundError, Operation, OperationRef, OperationStatus, PollingPolicy, SchedulesError
from schedules_async._clock import Seconds
from schedules_async._polling.forecast import Progress
from schedules_async.temporal import OperationWait, Outcome, WaitProgress, WaitRequest
from schedules_async.temporal.payloads import HeartbeatDetails

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()
POLICY = PollingPolicy()


def to_date(time: float) -> datetime:
    """Return the UTC date of seconds since 1970."""
    return datetime.fromtimestamp(time, UTC)


SNAPSHOT = Operation(
    "o",
    "s",
    OperationStatus.STARTED,
    percent_complete=40.5,
    created_at=to_date(NOON - 90),
    updated_at=to_date(NOON - 60),
)
DONE = Operation("o", "s", OperationStatus.SUCCEEDED, percent_complete=100.0, etag='"a"')


def test_request_accepts_refs_and_pairs_in_order() -> None:
    request = WaitRequest.of([OperationRef("s", "b"), ("s", "a"), OperationRef("s", "b")], timeout=timedelta(hours=1))
    assert request.refs == [("s", "b"), ("s", "a"), ("s", "b")]
    assert request.timeout == 3600.0


def test_more_than_1000_operations_raise_value_error() -> None:
    refs = [("s", str(number)) for number in range(1000)]
    assert len(WaitRequest.of(refs * 2).refs) == 2000
    with pytest.raises(ValueError, match="at most 1000 operations, not 1001"):
        WaitRequest.of([*refs, ("s", "one more")])


def test_infinite_timeout_is_none() -> None:
    assert WaitRequest.of([], timeout=math.inf) == WaitRequest.of([]) == WaitRequest.of([], timeout=None)


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), -math.inf])
def test_times_not_positive_raise_value_error(wrong: float) -> None:
    with pytest.raises(ValueError, match="timeout must be positive"):
        WaitRequest.of([], timeout=wrong)
    with pytest.raises(ValueError, match="heartbeat_timeout must be positive"):
        WaitRequest.of([], heartbeat_timeout=wrong)
    with pytest.raises(ValueError, match="progress_interval must be positive"):
        WaitRequest.of([], progress_interval=wrong)


def test_infinite_intervals_raise_value_error() -> None:
    """Only a timeout may be infinite."""
    with pytest.raises(ValueError, match="heartbeat_timeout must be positive and finite"):
        WaitRequest.of([], heartbeat_timeout=math.inf)
    with pytest.raises(ValueError, match="progress_interval must be positive and finite"):
        WaitRequest.of([], progress_interval=math.inf)


@pytest.mark.parametrize("endless", [timedelta.max, 1e300])
def test_endless_times_are_cut_to_ten_years(endless: Seconds) -> None:
    """A time that a timedelta cannot hold would fail every task of the workflow, which would never end."""
    request = WaitRequest.of([], timeout=endless, heartbeat_timeout=endless, progress_interval=endless)
    assert {request.timeout, request.heartbeat_timeout, request.progress_interval} == {10 * 365 * 86400.0}


def test_invalid_id_raises_value_error() -> None:
    with pytest.raises(ValueError, match="operation_id must not be"):
        WaitRequest.of([("s", "..")])


def test_outcome_value_is_snapshot_or_error() -> None:
    assert Outcome("s", "o", operation=DONE.to_json()).value() == DONE
    error = Outcome("s", "o", error="NotFoundError", message="not there").value()
    assert isinstance(error, NotFoundError)
    assert (str(error), error.ref) == ("not there", OperationRef("s", "o"))


@pytest.mark.parametrize("name", ["Foreign", "annotations", "Mapping", "attrs", "OperationGroupErrorOfTomorrow"])
def test_unknown_error_name_gives_base_class(name: str) -> None:
    assert type(Outcome("s", "o", error=name, message="x").value()) is SchedulesError


@pytest.mark.parametrize(
    ("outcome", "is_succeeded"),
    [
        (Outcome("s", "o", operation=DONE.to_json()), True),
        (Outcome("s", "o", operation=Operation("o", "s", OperationStatus.FAILED).to_json()), False),
        (Outcome("s", "o", error="NotFoundError", message="x"), False),
    ],
)
def test_only_succeeded_outcome_is_succeeded(outcome: Outcome, is_succeeded: bool) -> None:
    assert outcome.is_succeeded is is_succeeded


def test_percent_complete_is_mean() -> None:
    assert WaitProgress(2, 1, [100.0, 50.0]).percent_complete == 75.0
    assert WaitProgress(0, 0, []).percent_complete == 100.0


@pytest.mark.parametrize(
    "value",
    [
        OperationWait("s", "o", "details"),
        WaitRequest([("s", "o")], outcomes={"0": Outcome("s", "o")}, details={"1": "details"}, deadline=5.0),
        Outcome("s", "o", error="NotFoundError", message="x"),
        WaitProgress(1, 0, [50.0]),
    ],
)
async def test_payload_survives_plain_json_round_trip(value: object) -> None:
    payloads = await DataConverter.default.encode([value])
    assert payloads[0].metadata["encoding"] == b"json/plain"
    assert await DataConverter.default.decode(payloads, [type(value)]) == [value]


@pytest.mark.parametrize("exported", [OperationWait, WaitRequest, Outcome, WaitProgress])
def test_export_has_name_of_public_module(exported: type) -> None:
    assert exported.__module__ == "schedules_async.temporal"


# The details of heartbeats


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
    assert HeartbeatDetails.from_json(details.to_json()).polls == details.polls
    assert details.progress().remaining is None


def test_polls_keep_first_changes_and_latest() -> None:
    details = HeartbeatDetails()
    percents = [0.0, 25.0, *[50.0] * 400, 75.0]
    for number, percent in enumerate(percents):
        operation = Operation("o", "s", OperationStatus.STARTED, percent_complete=percent)
        details = details.with_poll(NOON + 10 * number, operation)
    assert len(details.polls) == 12
    assert [percent for _, _, percent, _ in details.polls][:3] == [0.0, 25.0, 50.0]
    assert [time for time, *_ in details.polls][:2] == [NOON, NOON + 10]
    assert details.polls[-1][2] == 75.0
    assert len(details.to_json()) < 1500


def test_many_changes_keep_first_and_latest() -> None:
    details = HeartbeatDetails()
    for number in range(50):
        operation = Operation("o", "s", OperationStatus.STARTED, percent_complete=number)
        details = details.with_poll(NOON + number, operation)
    assert [percent for _, _, percent, _ in details.polls] == [0.0, *map(float, range(39, 50))]


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
