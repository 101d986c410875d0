"""What an activity tells Temporal of an error: whether to try again, and when. Pure."""

from datetime import timedelta

from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from schedules_async._http.retry import is_transient
from schedules_async._operations.operation import Operation
from schedules_async.errors import AuthenticationError, RateLimitedError, ResponseError, SessionClosedError

STILL_RUNNING = "StillRunning"


def still_running(said: str, pause: float) -> ApplicationError:
    """Ask for another attempt after the policy's pause; nothing is wrong."""
    return ApplicationError(
        said,
        type=STILL_RUNNING,
        next_retry_delay=timedelta(seconds=pause),
        category=ApplicationErrorCategory.BENIGN,
    )


def to_failure(error: Exception, pause: float) -> ApplicationError:
    """Say what an error means to the engine: the same fault may be gone after `pause`, or when the answer said."""
    retry_after = error.retry_after if isinstance(error, ResponseError) else None
    return ApplicationError(
        str(error),
        type=type(error).__name__,
        non_retryable=not may_pass(error),
        next_retry_delay=timedelta(seconds=pause if retry_after is None else retry_after),
    )


def may_pass(error: Exception) -> bool:
    """Tell whether another attempt may do better: after a refusal, a fault that passes, or on another worker."""
    if isinstance(error, AuthenticationError):
        return error.status is None  # no token could be had; a token that was refused will be again
    return isinstance(error, RateLimitedError | SessionClosedError) or is_transient(error)


def describe(operation: Operation) -> str:
    """Say how an operation stands."""
    return f"{operation.raw_status} at {operation.percent_complete:g} %"
