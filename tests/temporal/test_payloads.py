"""What travels: checked when it is made, plain JSON on the way, the library's own values in the end."""

from datetime import timedelta

import pytest
from temporalio.converter import DataConverter

from schedules_async import NotFoundError, Operation, OperationRef, OperationStatus, SchedulesError
from schedules_async.temporal import OperationWait, Outcome, WaitProgress, WaitRequest
from schedules_async.temporal.payloads import Carried

DONE = Operation("o", "s", OperationStatus.SUCCEEDED, percent_complete=100.0, etag='"a"')


def test_a_request_takes_refs_and_pairs_in_order() -> None:
    request = WaitRequest.of([OperationRef("s", "b"), ("s", "a"), OperationRef("s", "b")], timeout=timedelta(hours=1))
    assert request.refs == [("s", "b"), ("s", "a"), ("s", "b")]
    assert request.timeout == 3600.0


def test_more_than_one_workflow_can_take_is_refused_duplicates_aside() -> None:
    refs = [("s", str(number)) for number in range(1000)]
    assert len(WaitRequest.of(refs * 2).refs) == 2000
    with pytest.raises(ValueError, match="at most 1000 operations, not 1001"):
        WaitRequest.of([*refs, ("s", "one more")])


@pytest.mark.parametrize("wrong", [0, -1, float("nan")])
def test_times_are_positive(wrong: float) -> None:
    with pytest.raises(ValueError, match="timeout must be positive"):
        WaitRequest.of([], timeout=wrong)
    with pytest.raises(ValueError, match="heartbeat_timeout must be positive"):
        WaitRequest.of([], heartbeat_timeout=wrong)
    with pytest.raises(ValueError, match="progress_interval must be positive"):
        WaitRequest.of([], progress_interval=wrong)


def test_ids_that_name_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="operation_id must not be"):
        WaitRequest.of([("s", "..")])


def test_an_outcome_is_the_snapshot_or_the_error() -> None:
    assert Outcome("s", "o", operation=DONE.to_json()).value() == DONE
    error = Outcome("s", "o", error="NotFoundError", message="not there").value()
    assert isinstance(error, NotFoundError)
    assert (str(error), error.ref) == ("not there", OperationRef("s", "o"))


@pytest.mark.parametrize("name", ["Foreign", "annotations", "Mapping", "attrs", "OperationGroupErrorOfTomorrow"])
def test_an_error_of_another_name_is_the_base(name: str) -> None:
    assert type(Outcome("s", "o", error=name, message="x").value()) is SchedulesError


@pytest.mark.parametrize(
    ("outcome", "is_succeeded"),
    [
        (Outcome("s", "o", operation=DONE.to_json()), True),
        (Outcome("s", "o", operation=Operation("o", "s", OperationStatus.FAILED).to_json()), False),
        (Outcome("s", "o", error="NotFoundError", message="x"), False),
    ],
)
def test_only_succeeded_is_a_success(outcome: Outcome, is_succeeded: bool) -> None:
    assert outcome.is_succeeded is is_succeeded


def test_progress_is_the_mean() -> None:
    assert WaitProgress(2, 1, [100.0, 50.0]).percent_complete == 75.0
    assert WaitProgress(0, 0, []).percent_complete == 100.0


@pytest.mark.parametrize(
    "value",
    [
        OperationWait("s", "o", "memory"),
        WaitRequest([("s", "o")], carried=Carried({"0": Outcome("s", "o")}, {"1": "memory"}, 5.0)),
        Outcome("s", "o", error="NotFoundError", message="x"),
        WaitProgress(1, 0, [50.0]),
    ],
)
async def test_everything_goes_there_and_back_as_plain_json(value: object) -> None:
    payloads = await DataConverter.default.encode([value])
    assert payloads[0].metadata["encoding"] == b"json/plain"
    assert await DataConverter.default.decode(payloads, [type(value)]) == [value]
