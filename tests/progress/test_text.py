from typing import Any

import pytest

from schedules_async import Operation, OperationRef, OperationStatus, SessionStats, TimeRemaining
from schedules_async.errors import (
    AuthenticationError,
    MalformedResponseError,
    NotFoundError,
    OperationTimeoutError,
    PermissionDeniedError,
    RateLimitedError,
    ResponseError,
    SchedulesError,
    ServerError,
    TransportError,
)
from schedules_async.progress.text import (
    describe,
    explain,
    printable,
    spell_loss,
    spell_percent,
    spell_remaining,
    spell_traffic,
)

REF = OperationRef("s", "o")


def make(status: str, **facts: Any) -> Operation:
    return Operation("o", "s", OperationStatus(status), **facts)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("two\nlines\r\n", "two lines"),
        ("\x1b[31mred\x07", "[31mred"),
        ("a\u202eb", "a b"),
        ("é✓", "é✓"),
    ],
)
def test_text_of_the_service_cannot_steer_the_terminal(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(("fraction", "shown"), [(0.0, "0 %"), (0.29, "29 %"), (0.9999, "99 %"), (1.0, "100 %")])
def test_percent_is_rounded_down(fraction: float, shown: str) -> None:
    assert spell_percent(fraction) == shown


@pytest.mark.parametrize(
    ("low", "high", "shown"),
    [
        (0.0, 0.0, "0-1 s"),
        (2.9, 4.1, "2-5 s"),
        (3.0, 3.0, "3 s"),
        (60.0, 90.0, "60-90 s"),
        (60.0, 91.0, "1-2 min"),
        (3600.0, 7200.0, "1-2 h"),
        (86400.0, 200000.0, "1-3 d"),
    ],
)
def test_a_time_remaining_is_a_range_in_the_unit_that_fits(low: float, high: float, shown: str) -> None:
    assert spell_remaining(TimeRemaining(low, high)) == shown


def test_no_time_remaining_is_no_text() -> None:
    assert spell_remaining(None) == ""


@pytest.mark.parametrize(
    ("operation", "shown"),
    [
        (make("Queued", percent_complete=0.0), "Queued"),
        (make("Started", percent_complete=34.9), "Started, 34 %"),
        (make("Started", percent_complete=34.0, sub_status="Reading\n"), "Started, 34 %, Reading"),
        (make("Succeeded", percent_complete=100.0, sub_status="Tidy"), "Succeeded"),
        (make("Failed", failure_description="No\nroom"), "Failed: No room"),
        (make("Failed", failure_description=" "), "Failed: no reason given"),
        (make("Failed"), "Failed: no reason given"),
        (make("Unknown", raw_status="Paused\x1b"), "Paused, 0 %"),
    ],
)
def test_an_operation_is_told_in_one_line(operation: Operation, shown: str) -> None:
    assert describe(operation) == shown


def test_the_time_remaining_of_a_running_operation_is_told() -> None:
    assert describe(make("Started", percent_complete=50.0), TimeRemaining(3, 4)) == "Started, 50 %, 3-4 s left"
    assert describe(make("Succeeded"), TimeRemaining(0, 0)) == "Succeeded"


@pytest.mark.parametrize(
    ("stats", "shown"),
    [
        (SessionStats(), "0 requests, 0 saved by 304"),
        (SessionStats(requests=1), "1 request, 0 saved by 304"),
        (SessionStats(requests=9, not_modified=4, throttled=2), "9 requests, 4 saved by 304, 2 refused (429)"),
    ],
)
def test_traffic_is_told_with_what_a_304_saved(stats: SessionStats, shown: str) -> None:
    assert spell_traffic(stats) == shown


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ValueError("a bad\nargument"), "a bad argument"),
        (OperationTimeoutError("s/o did not end within 5 s", ref=REF), "s/o did not end within 5 s"),
        (AuthenticationError("401", ref=REF, status=401), "s/o: the token was refused: 401"),
        (AuthenticationError("no token could be had from ims: 500"), "no token could be had from ims: 500"),
        (AuthenticationError("no token could be had", ref=REF), "s/o: no token could be had"),
        (PermissionDeniedError("403", ref=REF), "s/o: the token does not allow this: 403"),
        (NotFoundError("404", ref=REF), "s/o: there is no such operation: 404"),
        (RateLimitedError("429", ref=REF), "s/o: the service refuses requests for too long: 429"),
        (
            ServerError("500", ref=REF, correlation_id="abc"),
            "s/o: the service is in trouble: 500, correlation id abc",
        ),
        (ResponseError("302", ref=REF), "s/o: the service answered with an error: 302"),
        (TransportError("reset"), "no complete answer came: reset"),
        (MalformedResponseError("not JSON", ref=REF), "s/o: the answer breaks the contract: not JSON"),
        (SchedulesError("odd"), "the wait ended: odd"),
    ],
)
def test_an_error_is_told_in_one_sentence(error: Exception, sentence: str) -> None:
    assert explain(error) == sentence


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (NotFoundError("404", ref=REF), "there is no such operation: 404"),
        (OperationTimeoutError("s/o did not end within 5 s", ref=REF), "did not end within 5 s"),
    ],
)
def test_beside_its_bar_an_operation_is_not_named_again(error: Exception, words: str) -> None:
    assert spell_loss(error) == words
