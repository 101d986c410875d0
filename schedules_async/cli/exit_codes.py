"""Exit codes, and the sentences for errors that end the command."""

from collections.abc import Iterable, Mapping

from schedules_async import OperationRef
from schedules_async.errors import (
    AuthenticationError,
    OperationFailedError,
    OperationStalledError,
    OperationTimeoutError,
    SchedulesError,
)
from schedules_async.progress.text import describe_error, error_reason, printable

FAILED, USAGE, TIMEOUT, SERVICE_ERROR, INTERRUPTED, CLOSED_PIPE = 1, 2, 3, 4, 130, 141

_SHORTEST_SECRET = 8  # characters; a shorter text may occur in the command's own messages
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


def to_command_error(
    errors: Iterable[Exception], secrets: Iterable[str], names: Mapping[OperationRef, str] | None = None
) -> CommandError:
    """Return the errors of the library as one CommandError without secrets, with the highest of their exit codes.

    An AuthenticationError is reported once, since it concerns all operations. A sentence contains the name of an
    operation instead of its ids, if it has one.
    """
    causes = list(errors)
    exit_code = max(next(code for kind, code in _EXIT_CODES if isinstance(error, kind)) for error in causes)
    sentences = dict.fromkeys(redact(_describe(each, names or {}), secrets) for each in causes)
    return CommandError(*sentences, exit_code=exit_code)


def _describe(error: Exception, names: Mapping[OperationRef, str]) -> str:
    if isinstance(error, AuthenticationError):
        return error_reason(error)
    text = describe_error(error)
    ref = error.ref if isinstance(error, SchedulesError) else None
    if ref is None or ref not in names:
        return text
    return printable(names[ref]) + text.removeprefix(printable(str(ref)))


def redact(text: str, secrets: Iterable[str]) -> str:
    """Return the text with each secret replaced by a placeholder."""
    for secret in secrets:
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "[secret]")
    return text
