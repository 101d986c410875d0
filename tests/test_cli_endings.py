import pytest

from schedules_async import OperationRef
from schedules_async.cli.endings import as_command_error, explain
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
    assert as_command_error(error, "secret").exit_code == exit_code


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ValueError("a bad\nargument"), "a bad argument"),
        (OperationTimeoutError("s/o did not end within 5 s", ref=REF), "s/o did not end within 5 s"),
        (AuthenticationError("401", ref=REF), "s/o: the token was refused: 401"),
        (PermissionDeniedError("403", ref=REF), "s/o: the token does not allow this: 403"),
        (NotFoundError("404", ref=REF), "s/o: there is no such operation: 404"),
        (RateLimitedError("429", ref=REF), "s/o: the service refuses requests for too long: 429"),
        (
            ServerError("500", ref=REF, correlation_id="abc"),
            "s/o: the service is in trouble: 500, correlation id abc",
        ),
        (ResponseError("302", ref=REF), "s/o: the service answered with an error: 302"),
        (TransportError("reset"), "no complete answer came: reset"),
        (MalformedResponseError("not JSON", ref=REF), "s/o: the answer breaks the contract: not JSON"),
        (SchedulesError("odd"), "the wait ended: odd"),
    ],
)
def test_an_error_is_told_in_one_sentence(error: Exception, sentence: str) -> None:
    assert explain(error) == sentence


def test_a_token_that_comes_back_in_an_answer_is_not_shown() -> None:
    error = as_command_error(AuthenticationError("401 Unauthorized (no such token: secret)", ref=REF), "secret")
    assert str(error) == "s/o: the token was refused: 401 Unauthorized (no such token: [token])"
