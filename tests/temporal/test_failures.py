from datetime import timedelta

import pytest
from temporalio.exceptions import ApplicationErrorCategory

from schedules_async import (
    AuthenticationError,
    MalformedResponseError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    ResponseError,
    ServerError,
    SessionClosedError,
    TransportError,
)
from schedules_async.temporal.failures import not_done, to_failure


@pytest.mark.parametrize(
    ("error", "is_retried", "delay"),
    [
        (RateLimitedError("x", status=429, retry_after=90.0), True, 90),
        (RateLimitedError("x", status=429), True, 13),
        (TransportError("x"), True, 13),
        (TransportError("x", is_transient=False), False, 13),
        (ServerError("x", status=503, retry_after=0.0), True, 0),
        (ServerError("x", status=502), True, 13),
        (ServerError("x", status=501), False, 13),
        (ResponseError("x", status=408), True, 13),
        (ResponseError("x", status=400), False, 13),
        (AuthenticationError("x"), True, 13),
        (AuthenticationError("x", status=401), False, 13),
        (PermissionDeniedError("x", status=403), False, 13),
        (NotFoundError("x", status=404), False, 13),
        (MalformedResponseError("x"), False, 13),
        (SessionClosedError("x"), True, 13),
        (ValueError("x"), False, 13),
    ],
)
def test_only_transient_errors_are_retryable(error: Exception, is_retried: bool, delay: float) -> None:
    failure = to_failure(error, 13.0)
    assert failure.non_retryable is not is_retried
    assert failure.next_retry_delay == timedelta(seconds=delay)
    assert (failure.type, failure.message) == (type(error).__name__, "x")


def test_operation_not_done_is_benign_failure() -> None:
    failure = not_done("Started at 40 %", 2.5)
    assert failure.category is ApplicationErrorCategory.BENIGN
    assert failure.next_retry_delay == timedelta(seconds=2.5)
    assert (failure.type, failure.message) == ("OperationNotDone", "Started at 40 %")
