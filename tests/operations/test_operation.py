"""Snapshots: what is read from the service's JSON, what is malformed, and the way back."""

import json
import math
import pickle
import sys
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from schedules_async._operations.base_errors import MalformedResponseError
from schedules_async._operations.operation import (
    Operation,
    OperationStatus,
    structure_operation,
    to_text,
)
from schedules_async._operations.ref import OperationRef

SAMPLE = """{
    "operation": {
        "createdAt": "2019-11-15T12:00:00Z",
        "failureDescription": "An error occurred whilst processing your request.",
        "id": "bdc8fb5d-ce72-42f9-8818-bb2942927428",
        "percentComplete": 100,
        "status": "Failed",
        "subStatus": "Failed",
        "updatedAt": "2020-11-15T12:00:00Z"
    }
}"""
STARTED = Operation("o", "s", OperationStatus.STARTED, percent_complete=50.0)


def written(**fields: Any) -> str:
    """Write an answer with these fields beside a usable id and status; `...` leaves one out."""
    document = {"id": "o", "status": "Started", **fields}
    return json.dumps({"operation": {name: value for name, value in document.items() if value is not ...}})


def read(text: str | bytes) -> Operation:
    return Operation.from_json(text, "s")


def test_vendors_sample_is_read() -> None:
    assert Operation.from_json(SAMPLE, "s") == Operation(
        id="bdc8fb5d-ce72-42f9-8818-bb2942927428",
        schedule_id="s",
        status=OperationStatus.FAILED,
        raw_status="Failed",
        percent_complete=100.0,
        sub_status="Failed",
        failure_description="An error occurred whilst processing your request.",
        created_at=datetime(2019, 11, 15, 12, tzinfo=UTC),
        updated_at=datetime(2020, 11, 15, 12, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("raw", "status", "is_done"),
    [
        ("Queued", OperationStatus.QUEUED, False),
        ("Started", OperationStatus.STARTED, False),
        ("Succeeded", OperationStatus.SUCCEEDED, True),
        ("Failed", OperationStatus.FAILED, True),
        ("Unknown", OperationStatus.UNKNOWN, False),
        ("Paused", OperationStatus.UNKNOWN, False),
        ("succeeded", OperationStatus.UNKNOWN, False),
        ("FAILED", OperationStatus.UNKNOWN, False),
        (" Failed", OperationStatus.UNKNOWN, False),
        ("", OperationStatus.UNKNOWN, False),
    ],
)
def test_only_final_statuses_are_done(raw: str, status: OperationStatus, is_done: bool) -> None:
    operation = read(written(status=raw, percentComplete=100))
    assert operation.status is status
    assert operation.raw_status == raw
    assert operation.is_done is is_done
    assert operation.is_succeeded is (raw == "Succeeded")
    assert operation.is_failed is (raw == "Failed")


def test_status_is_its_text() -> None:
    assert [str(status) for status in OperationStatus] == ["Queued", "Started", "Succeeded", "Failed", "Unknown"]


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (..., 0.0),
        (None, 0.0),
        (0, 0.0),
        (-0.0, 0.0),
        (42, 42.0),
        (42.5, 42.5),
        (-7, -7.0),
        (250.0, 250.0),
        (1e300, 1e300),
        (10**300, 1e300),
        (sys.float_info.max, sys.float_info.max),
    ],
)
def test_percent_is_as_sent(sent: object, expected: float) -> None:
    percent = read(written(percentComplete=sent)).percent_complete
    assert percent == expected
    assert type(percent) is float


@pytest.mark.parametrize(
    "sent",
    ['"50"', '""', "true", "false", "NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1" + "0" * 400, "[50]", "{}"],
)
def test_percent_without_finite_number_is_malformed(sent: str) -> None:
    with pytest.raises(MalformedResponseError):
        read(f'{{"operation": {{"id": "o", "status": "Started", "percentComplete": {sent}}}}}')


@pytest.mark.parametrize(
    ("name", "attribute", "sent", "expected"),
    [
        ("subStatus", "sub_status", ..., None),
        ("subStatus", "sub_status", None, None),
        ("subStatus", "sub_status", "", ""),
        ("subStatus", "sub_status", "\u00e9\U0001f600", "\u00e9\U0001f600"),
        ("failureDescription", "failure_description", ..., None),
        ("failureDescription", "failure_description", None, None),
        ("failureDescription", "failure_description", "disk\nfull", "disk\nfull"),
        ("createdAt", "created_at", ..., None),
        ("createdAt", "created_at", None, None),
        ("createdAt", "created_at", "2020-01-02T03:04:05.1234567", datetime(2020, 1, 2, 3, 4, 5, 123456, UTC)),
        ("updatedAt", "updated_at", ..., None),
        ("updatedAt", "updated_at", None, None),
        ("updatedAt", "updated_at", "2020-01-02T03:04:05+00:00", datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("surprise", "percent_complete", [{"new": "field"}], 0.0),
        ("etag", "etag", None, None),
        ("etag", "etag", "no tag", None),
        ("etag", "etag", 5, None),
        ("etag", "etag", 'W/"1"', 'W/"1"'),
    ],
)
def test_other_fields_are_optional(name: str, attribute: str, sent: object, expected: object) -> None:
    assert getattr(read(written(**{name: sent})), attribute) == expected


NOT_TEXT: list[Any] = [5, True, ["o"], {"o": "o"}, "\ud800"]
NOT_A_TIME: list[Any] = [*NOT_TEXT, "", "yesterday", "2020-01-02T24:00:00Z", "0000-01-01T00:00:00Z", 1577966400]
WRONG: dict[str, list[Any]] = {
    "id": [*NOT_TEXT, ..., None, "", ".", ".."],
    "status": [*NOT_TEXT, ..., None],
    "subStatus": NOT_TEXT,
    "failureDescription": NOT_TEXT,
    "createdAt": NOT_A_TIME,
    "updatedAt": NOT_A_TIME,
}


@pytest.mark.parametrize(("name", "sent"), [(name, sent) for name in WRONG for sent in WRONG[name]], ids=ascii)
def test_field_of_wrong_type_is_malformed(name: str, sent: object) -> None:
    with pytest.raises(MalformedResponseError, match="operation"):
        read(written(**{name: sent}))


@pytest.mark.parametrize("name", ["id", "status", "percentComplete", "subStatus", "createdAt", "surprise"])
def test_text_nested_too_deeply_is_malformed(name: str) -> None:
    for opening, closing in (("[", "]"), ('{"a":', "}")):
        nested = f"{opening * 100_000}1{closing * 100_000}"
        with pytest.raises(MalformedResponseError):
            read(f'{{"operation": {{"id": "o", "status": "Started", "{name}": {nested}}}}}')


@pytest.mark.parametrize("name", ["id", "status", "percentComplete", "subStatus", "createdAt"])
def test_value_nested_too_deeply_is_malformed(name: str) -> None:
    """What JSON can still nest, `str` need not be able to write: under a tracer its limit is lower."""
    nested: list[object] = []
    for _ in range(20_000):
        nested = [nested]
    with pytest.raises(MalformedResponseError):
        structure_operation({"id": "o", "status": "Started", name: nested}, "s", None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "null",
        "5",
        "[]",
        '"operation"',
        "{}",
        '{"operation": null}',
        '{"operation": []}',
        '{"operation": "o"}',
        '{"Operation": {"id": "o", "status": "Started"}}',
        '{"operation": {"id": "o", "status": "Started"}',
        '{"operation": {"id": "o", "status": "Started"}} trailing',
        "<html>Bad Gateway</html>",
        '{"operation": {"id": "o", "status": "Started", "n": ' + "9" * 5000 + "}}",
        b"\xff\xfe",
        b'{"operation": {"id": "o", "status": "\xe9"}}',
        b'{"operation": {"id": "o", "status": "\xed\xa0\x80"}}',
        written().encode("utf-16"),
        written().encode("utf-32"),
    ],
)
def test_text_without_contracts_json_is_malformed(text: str | bytes) -> None:
    with pytest.raises(MalformedResponseError):
        read(text)


@pytest.mark.parametrize(
    "text",
    [
        written().encode(),
        b"\xef\xbb\xbf" + written().encode(),
        "\ufeff" + written(),
        '{"operation": 5, "operation": {"id": "x", "id": "o", "status": "Failed", "status": "Started"}}',
        '\r\n\t {"operation": {"status": "Started", "id": "\\u006f"}} \n',
    ],
)
def test_last_of_equal_names_wins(text: str | bytes) -> None:
    """A byte order mark is ignored."""
    assert read(text) == Operation("o", "s", OperationStatus.STARTED)


OPERATIONS = [
    STARTED,
    Operation("o", "s", OperationStatus.UNKNOWN, "Paused", -3.5, etag='W/"1"'),
    Operation("o", "s", OperationStatus.UNKNOWN, ""),
    Operation("\u00e9/\U0001f600", "a b", OperationStatus.FAILED, "Failed", 100, "Crashed", 'say "why"\n', etag='"1"'),
    Operation(
        "o",
        "s",
        OperationStatus.SUCCEEDED,
        created_at=datetime(2020, 1, 2, 3, 4, 5, 6, timezone(timedelta(hours=-5, minutes=-30))),
        updated_at=datetime(1, 1, 1, tzinfo=UTC),
    ),
]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_to_json_and_back_is_equal(operation: Operation) -> None:
    text = operation.to_json()
    document = json.loads(text)["operation"]
    assert (document["scheduleId"], document["etag"]) == (operation.schedule_id, operation.etag)
    for source in (text, text.encode()):
        back = Operation.from_json(source)
        assert back == operation
        assert (back.etag, back.raw_status, back.ref) == (operation.etag, operation.raw_status, operation.ref)
    assert pickle.loads(pickle.dumps(operation)) == operation


@pytest.mark.parametrize("operation", OPERATIONS)
def test_to_dict_is_what_json_holds(operation: Operation) -> None:
    assert json.loads(operation.to_json()) == {"operation": operation.to_dict()}
    assert json.loads(json.dumps(operation.to_dict())) == operation.to_dict()


@pytest.mark.parametrize(
    ("operation", "text"),
    [
        (STARTED, "s/o Started 50 %"),
        (Operation("o", "s", OperationStatus.UNKNOWN, "Paused", 12.345), "s/o Paused 12.345 %"),
        (Operation("o", "s", OperationStatus.UNKNOWN, "On\r\nhold\u2028now"), "s/o On hold now 0 %"),
        (Operation("o", "s", OperationStatus.SUCCEEDED, percent_complete=100, etag='"1"'), "s/o Succeeded 100 %"),
        (
            Operation("o", "s", OperationStatus.FAILED, failure_description="disk\n full " + "!" * 200),
            "s/o Failed 0 % (disk full " + "!" * 90 + ")",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_text_of_snapshot_is_one_short_line(operation: Operation, text: str) -> None:
    assert str(operation) == text


@pytest.mark.parametrize("status", OperationStatus)
def test_status_may_be_given_as_text(status: OperationStatus) -> None:
    assert Operation("o", "s", OperationStatus(status.value)).status is status
    operation = Operation("o", "s", str(status))
    assert (operation.status, operation.raw_status) == (status, status.value)
    assert operation == Operation("o", "s", status)


def test_status_of_another_kind_is_an_error() -> None:
    odd: Any = 5
    with pytest.raises(ValueError, match="5 is not a valid OperationStatus"):
        Operation("o", "s", odd)
    with pytest.raises(ValueError, match="'started' is not a valid OperationStatus"):
        Operation("o", "s", "started")


def test_callers_schedule_precedes_the_named_one() -> None:
    assert Operation.from_json(STARTED.to_json(), "t").ref == OperationRef("t", "o")


@pytest.mark.parametrize("text", [None, 5, {}, bytearray(b"{}")])
def test_answer_of_another_type_raises_type_error(text: Any) -> None:
    with pytest.raises(TypeError, match=f"text must be str or bytes, not {type(text).__name__}"):
        Operation.from_json(text, "s")


def test_answer_without_schedule_is_an_error() -> None:
    for text in (written(), written(scheduleId=None)):
        with pytest.raises(ValueError, match="schedule_id"):
            Operation.from_json(text)


@pytest.mark.parametrize("named", [5, True, [], "", ".", "..", "\ud800"])
def test_text_naming_unusable_schedule_is_malformed(named: object) -> None:
    with pytest.raises(MalformedResponseError):
        Operation.from_json(written(scheduleId=named))


@pytest.mark.parametrize(
    ("schedule_id", "error"), [("", ValueError), (".", ValueError), ("..", ValueError), (5, TypeError)]
)
def test_callers_unusable_schedule_is_an_argument_error(schedule_id: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="schedule_id"):
        Operation.from_json(written(), schedule_id)


def test_equality_and_hash_ignore_the_tag() -> None:
    tagged = Operation("o", "s", OperationStatus.STARTED, percent_complete=50.0, etag='"1"')
    assert tagged == STARTED
    assert hash(tagged) == hash(STARTED)
    others = [
        Operation("p", "s", OperationStatus.STARTED, percent_complete=50.0),
        Operation("o", "t", OperationStatus.STARTED, percent_complete=50.0),
        Operation("o", "s", OperationStatus.QUEUED, percent_complete=50.0),
        Operation("o", "s", OperationStatus.STARTED, percent_complete=51.0),
        Operation("o", "s", OperationStatus.STARTED, percent_complete=50.0, sub_status="x"),
        Operation("o", "s", OperationStatus.STARTED, percent_complete=50.0, failure_description="x"),
        Operation(
            "o", "s", OperationStatus.STARTED, percent_complete=50.0, created_at=datetime(2020, 1, 1, tzinfo=UTC)
        ),
        Operation(
            "o", "s", OperationStatus.STARTED, percent_complete=50.0, updated_at=datetime(2020, 1, 1, tzinfo=UTC)
        ),
    ]
    assert all(other != STARTED for other in others)
    assert Operation("o", "s", OperationStatus.UNKNOWN, "a") != Operation("o", "s", OperationStatus.UNKNOWN, "b")


def test_snapshot_is_frozen_and_has_its_ref() -> None:
    assert STARTED.ref == OperationRef("s", "o")
    for name in ("status", "percent_complete", "etag"):
        with pytest.raises(AttributeError):
            setattr(STARTED, name, None)


@pytest.mark.parametrize(
    ("status", "raw"),
    [
        (OperationStatus.UNKNOWN, "Succeeded"),
        (OperationStatus.SUCCEEDED, "Failed"),
        (OperationStatus.QUEUED, "queued"),
    ],
)
def test_status_and_raw_status_cannot_disagree(status: OperationStatus, raw: str) -> None:
    with pytest.raises(ValueError, match="raw_status"):
        Operation("o", "s", status, raw)


@pytest.mark.parametrize(
    ("status", "percent", "fraction"),
    [
        ("Queued", 0.0, 0.0),
        ("Started", 42.0, 0.42),
        ("Started", 100.0, 1.0),
        ("Started", 250.0, 1.0),
        ("Started", -5.0, 0.0),
        ("Started", sys.float_info.max, 1.0),
        ("Unknown", 42.0, 0.42),
        ("Succeeded", 0.0, 1.0),
        ("Failed", 42.0, 1.0),
    ],
)
def test_fraction_is_between_zero_and_one(status: str, percent: float, fraction: float) -> None:
    assert math.isclose(Operation("o", "s", OperationStatus(status), percent_complete=percent).fraction, fraction)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", True),
        ("text", True),
        ("\U0001f600", True),
        ("\ud83d\ude00", False),
        ("\udcff", False),
        (b"text", False),
        (5, False),
    ],
    ids=ascii,
)
def test_only_text_without_lone_surrogates_is_returned(value: object, expected: bool) -> None:
    assert to_text(value) == (value if expected else None)
