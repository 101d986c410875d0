"""Exit codes, and the sentences for errors that end the command."""

from collections.abc import Iterable

from schedules_async.errors import (
    AuthenticationError,
    OperationFailedError,
    OperationStalledError,
    OperationTimeoutError,
    SchedulesError,
)
from schedules_async.progress.text import describe_error, error_reason

FAILED, USAGE, TIMEOUT, SERVICE_ERROR, INTERRUPTED, CLOSED_PIPE = 1, 2, 3, 4, 130, 141

_EXIT_CODES: tuple[tuple[type[Exception], int], ...] = (
    (OperationFailedError, FAILED),
    (OperationTimeoutError, TIMEOUT),
    (OperationStalledError, TIMEOUT),
    (SchedulesError, SERVICE_ERROR),
    (ValueError, USAGE),
    (TypeError, USAGE),
)


class CommandError(Exception):
    """An error that ends the command, with a sentence for each cause and the exit code."""

    def __init__(self, *sentences: str, exit_code: int) -> None:
        super().__init__(*sentences)
        self.sentences = sentences
        self.exit_code = exit_code


def to_command_error(errors: Iterable[Exception], secrets: Iterable[str]) -> CommandError:
    """Return the errors of the library as one CommandError without secrets, with the highest of their exit codes.

    An error of the token is reported once, since it concerns all operations.
    """
    causes = list(errors)
    exit_code = max(next(code for kind, code in _EXIT_CODES if isinstance(error, kind)) for error in causes)
    texts = (error_reason(each) if isinstance(each, AuthenticationError) else describe_error(each) for each in causes)
    sentences = list(dict.fromkeys(texts))
    for secret in secrets:
        sentences = [sentence.replace(secret, "[secret]") for sentence in sentences]
    return CommandError(*sentences, exit_code=exit_code)
