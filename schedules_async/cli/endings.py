"""How a command ends when it does not succeed: one sentence and an exit code."""

from schedules_async.cli.wording import printable
from schedules_async.errors import (
    AuthenticationError,
    MalformedResponseError,
    NotFoundError,
    OperationFailedError,
    OperationStalledError,
    OperationTimeoutError,
    PermissionDeniedError,
    RateLimitedError,
    ResponseError,
    SchedulesError,
    ServerError,
    TransportError,
    WaitError,
)

FAILED, USAGE, TIMEOUT, TROUBLE, INTERRUPTED, CLOSED_PIPE = 1, 2, 3, 4, 130, 141

_EXIT_CODES: tuple[tuple[type[Exception], int], ...] = (
    (OperationFailedError, FAILED),
    (OperationTimeoutError, TIMEOUT),
    (OperationStalledError, TIMEOUT),
    (SchedulesError, TROUBLE),
    (ValueError, USAGE),
    (TypeError, USAGE),
)
_MEANINGS: tuple[tuple[type[SchedulesError], str], ...] = (
    (AuthenticationError, "the token was refused"),
    (PermissionDeniedError, "the token does not allow this"),
    (NotFoundError, "there is no such operation"),
    (RateLimitedError, "the service refuses requests for too long"),
    (ServerError, "the service is in trouble"),
    (ResponseError, "the service answered with an error"),
    (TransportError, "no complete answer came"),
    (MalformedResponseError, "the answer breaks the contract"),
    (SchedulesError, "the wait ended"),
)


class CommandError(Exception):
    """The end of a command, with its sentence and its exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def as_command_error(error: Exception, token: str) -> CommandError:
    """Put what the library raised into a sentence that does not show the token."""
    exit_code = next(code for kind, code in _EXIT_CODES if isinstance(error, kind))
    return CommandError(explain(error).replace(token, "[token]"), exit_code)


def explain(error: Exception) -> str:
    """Say in one sentence what an error means."""
    if isinstance(error, WaitError) or not isinstance(error, SchedulesError):
        return printable(str(error))
    meaning = next(words for kind, words in _MEANINGS if isinstance(error, kind))
    about = "" if error.ref is None else f"{error.ref}: "
    correlation = isinstance(error, ResponseError) and error.correlation_id
    trace = f", correlation id {correlation}" if correlation else ""
    return printable(f"{about}{meaning}: {error}{trace}")
