"""Which faults are retried, and after which delay."""

import math
from datetime import timedelta
from typing import Any

import pytest

from schedules_async._http.retry import RetryPolicy, backoff_delay
from schedules_async.errors import (
    MalformedResponseError,
    NotFoundError,
    OperationTimeoutError,
    RateLimitedError,
    ResponseError,
    SchedulesError,
    ServerError,
    SessionClosedError,
    TransportError,
)

SECONDS = ("base", "max_pause", "max_retry_after", "max_outage")


def test_defaults_are_as_documented() -> None:
    assert RetryPolicy() == RetryPolicy(attempts=5, base=0.5, max_pause=30.0, max_retry_after=120.0, max_outage=300.0)
    assert hash(RetryPolicy()) == hash(RetryPolicy())


def test_seconds_may_be_a_timedelta() -> None:
    minute = timedelta(minutes=1)
    assert RetryPolicy(5, *[minute] * 4) == RetryPolicy(5, 60, 60, 60, 60)


@pytest.mark.parametrize("name", SECONDS)
@pytest.mark.parametrize("value", [-1, -0.001, math.nan, -math.inf, timedelta(seconds=-1)])
def test_seconds_negative_or_nan_are_an_error(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        RetryPolicy(**{name: value})


@pytest.mark.parametrize("name", SECONDS)
@pytest.mark.parametrize("value", ["1", None, True, b"x"])
def test_seconds_of_another_type_are_an_error(name: str, value: Any) -> None:
    with pytest.raises(TypeError):
        RetryPolicy(**{name: value})


@pytest.mark.parametrize("name", SECONDS)
@pytest.mark.parametrize("value", [0, 0.5, math.inf])
def test_seconds_may_be_zero_or_infinite(name: str, value: Any) -> None:
    assert getattr(RetryPolicy(**{name: value}), name) == value


@pytest.mark.parametrize(
    ("attempts", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), ("5", TypeError), (True, TypeError)]
)
def test_attempts_below_one_are_an_error(attempts: int, error: type[Exception]) -> None:
    with pytest.raises(error):
        RetryPolicy(attempts=attempts)


def test_policy_is_frozen() -> None:
    for name in ("attempts", *SECONDS):
        with pytest.raises(AttributeError):
            setattr(RetryPolicy(), name, 1)


def test_only_transient_statuses_are_retried() -> None:
    transient = {status for status in range(1000) if ResponseError("x", status=status).is_transient}
    assert transient == {408, 500, 502, 503, 504}
    assert {status for status in range(500, 1000) if ServerError("x", status=status).is_transient} == transient - {408}
    assert not ResponseError("no token").is_transient


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TransportError("reset"), True),
        (TransportError("untrusted", is_transient=False), False),
        (NotFoundError("404", status=404), False),
        (RateLimitedError("429", status=429), False),
        (MalformedResponseError("not JSON"), False),
        (SessionClosedError("closed"), False),
        (OperationTimeoutError("late"), False),
        (SchedulesError("other"), False),
    ],
)
def test_only_transient_faults_are_retried(error: SchedulesError, expected: bool) -> None:
    assert error.is_transient is expected


@pytest.mark.parametrize(
    ("retry", "sample", "delay"),
    [
        (1, 1.0, 0.5),
        (2, 1.0, 1.0),
        (3, 1.0, 2.0),
        (6, 1.0, 16.0),
        (7, 1.0, 30.0),
        (64, 1.0, 30.0),
        (100_000, 1.0, 30.0),
        (1, 0.0, 0.0),
        (3, 0.25, 0.5),
        (100_000, 0.5, 15.0),
    ],
)
def test_delay_is_drawn_from_doubling_range(retry: int, sample: float, delay: float) -> None:
    assert backoff_delay(RetryPolicy(), retry, sample) == delay


@pytest.mark.parametrize(
    ("policy", "longest"),
    [
        (RetryPolicy(base=0), [0.0, 0.0, 0.0]),
        (RetryPolicy(max_pause=0), [0.0, 0.0, 0.0]),
        (RetryPolicy(base=2, max_pause=5), [2.0, 4.0, 5.0]),
        (RetryPolicy(base=60, max_pause=5), [5.0, 5.0, 5.0]),
        (RetryPolicy(base=1, max_pause=math.inf), [1.0, 2.0, 4.0]),
    ],
)
def test_delay_is_bounded_by_base_and_maximum(policy: RetryPolicy, longest: list[float]) -> None:
    assert [backoff_delay(policy, retry, 1.0) for retry in (1, 2, 3)] == longest
