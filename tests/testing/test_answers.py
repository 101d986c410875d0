import json
import pickle
from datetime import UTC, datetime
from typing import Any

import pytest

from schedules_async.testing import (
    Answer,
    cut_body,
    fault,
    not_modified,
    operation_answer,
    raw,
    reset,
    stall,
    throttled,
)
from schedules_async.testing.answers import Delivery, error_answer


def operation_of(answer: Answer) -> dict[str, Any]:
    document = json.loads(answer.body)
    assert isinstance(document["operation"], dict)
    return document["operation"]


@pytest.mark.parametrize(
    ("body", "sent"), [(None, b""), (b"", b""), (b"\xff", b"\xff"), ({"a": None}, b'{"a": null}'), ({}, b"{}")]
)
def test_body_of_each_type_is_encoded(body: Any, sent: bytes) -> None:
    assert Answer(200, body).body == sent


@pytest.mark.parametrize(
    ("headers", "etag"),
    [({}, None), ({"eTag": '"a"'}, '"a"'), ([("ETag", '"a"'), ("ETag", '"b"')], '"a"'), ([("X", "1")], None)],
)
def test_etag_is_first_etag_field(headers: Any, etag: str | None) -> None:
    assert Answer(headers=headers).etag == etag


def test_equal_answers_compare_and_hash_equal() -> None:
    assert operation_answer("Queued", etag='"1"') == operation_answer("Queued", etag='"1"')
    assert hash(throttled()) == hash(throttled())


def test_pickle_names_public_module() -> None:
    answer = throttled()
    assert b"schedules_async.testing\x94" in pickle.dumps(answer)
    assert pickle.loads(pickle.dumps(answer)) == answer


def test_operation_answer_has_all_contract_fields() -> None:
    assert operation_of(operation_answer("Started", percent_complete=10, sub_status="Copying")) == {
        "createdAt": "2026-01-01T00:00:00Z",
        "failureDescription": None,
        "id": "{operation_id}",
        "percentComplete": 10,
        "status": "Started",
        "subStatus": "Copying",
        "updatedAt": "2026-01-01T00:00:00Z",
    }


@pytest.mark.parametrize(("status", "percent"), [("Queued", 0), ("Succeeded", 100), ("Failed", 0), ("New", 0)])
def test_percent_complete_omitted_follows_status(status: str, percent: float) -> None:
    assert operation_of(operation_answer(status))["percentComplete"] == percent


def test_timestamps_accept_text_datetime_and_none() -> None:
    first = operation_of(operation_answer("Failed", failure_description="no disk", created_at=None, updated_at="soon"))
    assert (first["failureDescription"], first["createdAt"], first["updatedAt"]) == ("no disk", None, "soon")
    second = operation_of(operation_answer("Failed", created_at=datetime(2026, 1, 2, tzinfo=UTC)))
    assert second["createdAt"] == "2026-01-02T00:00:00+00:00"


@pytest.mark.parametrize(("value", "sent"), [(1, "1"), (1.2, "2"), ("soon", "soon"), (0, "0")])
def test_retry_after_is_whole_seconds_or_text(value: float | str, sent: str) -> None:
    for answer in (throttled(value), fault(503, retry_after=value)):
        assert dict(answer.headers)["retry-after"] == sent


def test_optional_headers_omitted_are_not_sent() -> None:
    assert "retry-after" not in dict(throttled(None).headers)
    assert set(dict(fault().headers)) == {"Content-Type", "ETag", "x-correlation-id"}
    assert "x-correlation-id" not in dict(fault(correlation_id=None).headers)
    assert not_modified().headers == ()
    assert not_modified('"a"') == Answer(304, headers={"ETag": '"a"'})


def test_throttled_has_contract_code_and_headers() -> None:
    answer = throttled()
    assert answer.status == 429
    assert json.loads(answer.body)["error"]["code"] == "RateLimitExceeded"
    assert [name for name, _ in answer.headers if name.startswith("ITwinPlatform-RateLimited-")] == [
        f"ITwinPlatform-RateLimited-{what}" for what in ("Tier", "API", "Operation", "Application")
    ]


@pytest.mark.parametrize(
    ("answer", "delivery"),
    [
        (Answer(), "http"),
        (reset(delay=1), "reset"),
        (stall(delay=1), "stall"),
        (raw(b"x", delay=1), "close"),
        (raw(b"x", close=False, delay=1), "stall"),
        (cut_body(delay=1), "close"),
    ],
)
def test_each_answer_has_its_delivery(answer: Answer, delivery: Delivery) -> None:
    assert answer.delivery == delivery
    assert answer.delay == (0 if delivery == "http" else 1)


def test_error_answer_has_given_details_only() -> None:
    assert error_answer(404, "C", "m") == Answer(404, {"error": {"code": "C", "message": "m"}})
    detailed = error_answer(404, "C", "m", {"X": "1"}, target="t")
    assert detailed == Answer(404, {"error": {"code": "C", "message": "m", "target": "t"}}, {"X": "1"})


def test_header_of_none_is_left_out() -> None:
    assert Answer(headers={"X": None, "Y": "1"}).headers == (("Y", "1"),)
    assert Answer(headers=[("X", "1"), ("X", None), ("X", "")]).headers == (("X", "1"), ("X", ""))
