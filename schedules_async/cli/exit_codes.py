"""How a command ends when it does not succeed: a sentence for each thing that went wrong, and an exit code."""

from collections.abc import Iterable

from schedules_async.errors import (
    AuthenticationError,
    OperationFailedError,
    OperationStalledError,
    OperationTimeoutError,
    SchedulesError,
)
from schedules_async.progress.text import explain, spell_loss

FAILED, USAGE, TIMEOUT, TROUBLE, INTERRUPTED, CLOSED_PIPE = 1, 2, 3, 4, 130, 141

_EXIT_CODES: tuple[tuple[type[Exception], int], ...] = (
    (OperationFailedError, FAILED),
    (OperationTimeoutError, TIMEOUT),
    (OperationStalledError, TIMEOUT),
    (SchedulesError, TROUBLE),
    (ValueError, USAGE),
    (TypeError, USAGE),
)


class CommandError(Exception):
    """The end of a command, with its sentences and its exit code."""

    def __init__(self, *sentences: str, exit_code: int) -> None:
        super().__init__(*sentences)
        self.sentences = sentences
        self.exit_code = exit_code


def as_command_error(errors: Iterable[Exception], secrets: Iterable[str]) -> CommandError:
    """Put what the library raised into sentences that show no secret; of several exit codes the highest counts.

    What is wrong with the token is said once, for it concerns all operations.
    """
    told = list(errors)
    exit_code = max(next(code for kind, code in _EXIT_CODES if isinstance(error, kind)) for error in told)
    said = (spell_loss(error) if isinstance(error, AuthenticationError) else explain(error) for error in told)
    sentences = list(dict.fromkeys(said))
    for secret in secrets:
        sentences = [sentence.replace(secret, "[secret]") for sentence in sentences]
    return CommandError(*sentences, exit_code=exit_code)
