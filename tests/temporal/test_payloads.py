from datetime import timedelta

import pytest
from temporalio.converter import DataConverter

from schedules_async import NotFoundError, Operation, OperationRef, OperationStatus, SchedulesError
from schedules_async.temporal import OperationWait, Outcome, WaitProgress, WaitRequest
from schedules_async.temporal.payloads import RunState

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


@pytest.mark.parametrize("wrong", [0, -1, float("nan")])
def test_times_not_positive_raise_value_error(wrong: float) -> None:
    with pytest.raises(ValueError, match="timeout must be positive"):
        WaitRequest.of([], timeout=wrong)
    with pytest.raises(ValueError, match="heartbeat_timeout must be positive"):
        WaitRequest.of([], heartbeat_timeout=wrong)
    with pytest.raises(ValueError, match="progress_interval must be positive"):
        WaitRequest.of([], progress_interval=wrong)


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
        WaitRequest([("s", "o")], state=RunState({"0": Outcome("s", "o")}, {"1": "details"}, 5.0)),
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
