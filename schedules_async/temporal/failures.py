"""Translation of errors to Temporal's failures: whether to retry, and when. Pure."""

from datetime import timedelta

from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from schedules_async.errors import AuthenticationError, RateLimitedError, ResponseError, SessionClosedError

NOT_DONE = "OperationNotDone"


def not_done(message: str, interval: float) -> ApplicationError:
    """Return the failure that schedules the next attempt after `interval` seconds; it is not an error."""
    return ApplicationError(
        message,
        type=NOT_DONE,
        next_retry_delay=timedelta(seconds=interval),
        category=ApplicationErrorCategory.BENIGN,
    )


def to_failure(error: Exception, retry_delay: float) -> ApplicationError:
    """Return the failure for an error; it is retried after its Retry-After, or else after `retry_delay` seconds."""
    retry_after = error.retry_after if isinstance(error, ResponseError) else None
    return ApplicationError(
        str(error),
        type=type(error).__name__,
        non_retryable=not _is_retryable(error),
        next_retry_delay=timedelta(seconds=retry_delay if retry_after is None else retry_after),
    )


def _is_retryable(error: Exception) -> bool:
    """Return True if another attempt may succeed: after throttling or a transient fault, or on another worker."""
    if isinstance(error, AuthenticationError):
        return error.status is None  # no token could be obtained; one that was rejected will be rejected again
    return isinstance(error, RateLimitedError | SessionClosedError) or getattr(error, "is_transient", False)
