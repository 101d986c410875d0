import pytest

from schedules_async import OperationRef
from schedules_async.cli.exit_codes import as_command_error
from schedules_async.errors import (
    AuthenticationError,
    OperationFailedError,
    OperationStalledError,
    OperationTimeoutError,
    SchedulesError,
    ServerError,
    SessionClosedError,
    TransportError,
)

REF = OperationRef("s", "o")


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (OperationFailedError("m"), 1),
        (ValueError("m"), 2),
        (TypeError("m"), 2),
        (OperationTimeoutError("m"), 3),
        (OperationStalledError("m"), 3),
        (TransportError("m"), 4),
        (ServerError("m"), 4),
        (SessionClosedError("m"), 4),
    ],
)
def test_each_kind_of_error_has_its_exit_code(error: Exception, exit_code: int) -> None:
    assert as_command_error([error], ()).exit_code == exit_code


@pytest.mark.parametrize(
    ("errors", "exit_code"),
    [
        ([OperationFailedError("1"), OperationTimeoutError("2")], 3),
        ([TransportError("1"), OperationFailedError("2"), OperationStalledError("3")], 4),
        ([OperationFailedError("1"), OperationFailedError("2")], 1),
    ],
)
def test_of_several_exit_codes_the_highest_counts_and_each_error_has_its_sentence(
    errors: list[SchedulesError], exit_code: int
) -> None:
    ending = as_command_error(errors, ())
    assert ending.exit_code == exit_code
    assert [sentence[-1] for sentence in ending.sentences] == [str(error) for error in errors]


def test_what_is_wrong_with_the_token_is_said_once_and_without_it() -> None:
    error = AuthenticationError("401 Unauthorized (no such token: secret, of: another)", ref=REF, status=401)
    assert as_command_error([error, error], ("secret", "another")).sentences == (
        "the token was refused: 401 Unauthorized (no such token: [secret], of: [secret])",
    )
