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
    describe_error,
    describe_operation,
    error_reason,
    format_percent,
    format_stats,
    format_time_left,
    printable,
)

REF = OperationRef("s", "o")


def make(status: str, **facts: Any) -> Operation:
    return Operation("o", "s", OperationStatus(status), **facts)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("two\nlines\r\n", "two lines"),
        ("\x1b[31mred\x07", "[31mred"),
        ("a\u202eb", "a b"),
        ("é✓", "é✓"),
    ],
)
def test_printable_removes_control_characters(text: str, expected: str) -> None:
    assert printable(text) == expected


@pytest.mark.parametrize(("fraction", "expected"), [(0.0, "0 %"), (0.29, "29 %"), (0.9999, "99 %"), (1.0, "100 %")])
def test_format_percent_rounds_down(fraction: float, expected: str) -> None:
    assert format_percent(fraction) == expected


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 0.0, "0-1 s"),
        (2.9, 4.1, "2-5 s"),
        (3.0, 3.0, "3 s"),
        (60.0, 90.0, "60-90 s"),
        (16.0, 91.0, "0.2-1.6 min"),
        (60.0, 91.0, "1-1.6 min"),
        (60.0, 138.0, "1-2.3 min"),
        (590.0, 598.0, "9.8-10 min"),
        (3000.0, 5400.0, "50-90 min"),
        (3600.0, 7200.0, "1-2 h"),
        (86400.0, 200000.0, "1-2.4 d"),
    ],
)
def test_format_time_left_uses_the_suitable_unit(low: float, high: float, expected: str) -> None:
    assert format_time_left(TimeRemaining(low, high)) == f"{expected} left"


@pytest.mark.parametrize("share", [0.0, 0.2, 0.8, 1.0])
def test_format_time_left_is_precise_in_every_unit(share: float) -> None:
    """Both bounds differ from the exact ones by a tenth of the upper one, or a second, and contain them."""
    sizes = {"s": 1, "min": 60, "h": 3600, "d": 86400}
    for high in (1.01**step for step in range(1500)):
        text, unit, _ = format_time_left(TimeRemaining(share * high, high)).split()
        low, *rest = (float(bound) * sizes[unit] for bound in text.split("-"))
        error = max(0.1 * high, 1) + 1e-6
        assert share * high - error <= low <= share * high + (1e-6 if rest else error)
        assert high - 1e-3 <= (rest or [low])[0] <= high + error


def test_format_time_left_of_none_is_empty() -> None:
    assert format_time_left(None) == ""
    assert format_time_left(TimeRemaining(3, 4)) == "3-4 s left"


@pytest.mark.parametrize(
    ("operation", "expected"),
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
def test_describe_operation_is_one_line(operation: Operation, expected: str) -> None:
    assert describe_operation(operation) == expected


def test_describe_operation_running_includes_time_left() -> None:
    assert (
        describe_operation(make("Started", percent_complete=50.0), TimeRemaining(3, 4)) == "Started, 50 %, 3-4 s left"
    )
    assert describe_operation(make("Succeeded"), TimeRemaining(0, 0)) == "Succeeded"


@pytest.mark.parametrize(
    ("stats", "expected"),
    [
        (SessionStats(), "0 requests, 0 saved by 304"),
        (SessionStats(requests=1), "1 request, 0 saved by 304"),
        (SessionStats(requests=9, not_modified=4, throttled=2), "9 requests, 4 saved by 304, 2 answered 429"),
    ],
)
def test_format_stats_counts_304_and_429(stats: SessionStats, expected: str) -> None:
    assert format_stats(stats) == expected


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ValueError("a bad\nargument"), "a bad argument"),
        (OperationTimeoutError("s/o did not end within 5 s", ref=REF), "s/o did not end within 5 s"),
        (AuthenticationError("401", ref=REF, status=401), "the token was rejected: 401"),
        (AuthenticationError("no token could be obtained from ims: 500"), "no token could be obtained from ims: 500"),
        (AuthenticationError("no token could be obtained", ref=REF), "no token could be obtained"),
        (PermissionDeniedError("403", ref=REF), "s/o: the token does not grant access: 403"),
        (NotFoundError("404", ref=REF), "s/o: operation not found: 404"),
        (RateLimitedError("429", ref=REF), "s/o: throttled for too long: 429"),
        (
            ServerError("500", ref=REF, correlation_id="abc"),
            "s/o: server error: 500, correlation id abc",
        ),
        (ResponseError("302", ref=REF), "s/o: the service returned an error: 302"),
        (TransportError("connection reset"), "connection reset"),
        (MalformedResponseError("not JSON", ref=REF), "s/o: invalid response: not JSON"),
        (SchedulesError("odd"), "odd"),
    ],
)
def test_describe_error_is_one_sentence(error: Exception, sentence: str) -> None:
    assert describe_error(error) == sentence


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (NotFoundError("404", ref=REF), "operation not found: 404"),
        (OperationTimeoutError("s/o did not end within 5 s", ref=REF), "did not end within 5 s"),
    ],
)
def test_error_reason_does_not_name_the_operation(error: Exception, expected: str) -> None:
    assert error_reason(error) == expected
