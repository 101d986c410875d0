import pytest

from schedules_async import OperationRef
from schedules_async.cli.exit_codes import to_command_error
from schedules_async.errors import (
    AuthenticationError,
    NotFoundError,
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
def test_error_class_determines_exit_code(error: Exception, exit_code: int) -> None:
    assert to_command_error([error], ()).exit_code == exit_code


@pytest.mark.parametrize(
    ("errors", "exit_code"),
    [
        ([OperationFailedError("1"), OperationTimeoutError("2")], 3),
        ([TransportError("1"), OperationFailedError("2"), OperationStalledError("3")], 4),
        ([OperationFailedError("1"), OperationFailedError("2")], 1),
    ],
)
def test_several_errors_have_highest_code_and_all_sentences(errors: list[SchedulesError], exit_code: int) -> None:
    error = to_command_error(errors, ())
    assert error.exit_code == exit_code
    assert [sentence[-1] for sentence in error.sentences] == [str(each) for each in errors]


def test_token_error_is_reported_once_without_the_token() -> None:
    error = AuthenticationError("401 Unauthorized (no such token: a-secret, of: another-one)", ref=REF, status=401)
    assert to_command_error([error, error], ("a-secret", "another-one")).sentences == (
        "the token was rejected: 401 Unauthorized (no such token: [secret], of: [secret])",
    )


def test_short_secret_leaves_the_sentence_whole() -> None:
    """A word of the sentence is more likely than a secret of under eight characters."""
    error = AuthenticationError("401 Unauthorized", ref=REF, status=401)
    assert to_command_error([error], ("token",)).sentences == ("the token was rejected: 401 Unauthorized",)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OperationTimeoutError("s/o did not end within 1 s", ref=REF), "Import did not end within 1 s"),
        (NotFoundError("404", ref=REF, status=404), "Import: operation not found: 404"),
        (NotFoundError("404", ref=OperationRef("s", "p"), status=404), "s/p: operation not found: 404"),
        (SessionClosedError("closed"), "closed"),
        (ValueError("wrong"), "wrong"),
    ],
)
def test_named_operation_is_called_by_its_name(error: Exception, sentence: str) -> None:
    assert to_command_error([error], (), {REF: "Import\n"}).sentences == (sentence,)
