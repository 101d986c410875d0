import json

import pytest
from environment import environment

from schedules_async import Operation, OperationRef, TimeRemaining
from schedules_async.cli.reports import JsonLines, Lines, find_exit_code
from schedules_async.errors import (
    AuthenticationError,
    NotFoundError,
    OperationFailedError,
    OperationStalledError,
    OperationTimeoutError,
    RateLimitedError,
    SchedulesError,
    ServerError,
    SessionClosedError,
    TransportError,
)
from schedules_async.events import Throttled, TokenRenewed

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
    assert find_exit_code([error]) == exit_code


@pytest.mark.parametrize(
    ("errors", "exit_code"),
    [
        ([OperationFailedError("1"), OperationTimeoutError("2")], 3),
        ([TransportError("1"), OperationFailedError("2"), OperationStalledError("3")], 4),
        ([OperationFailedError("1"), OperationFailedError("2")], 1),
    ],
)
def test_several_errors_have_highest_code_and_all_sentences(errors: list[SchedulesError], exit_code: int) -> None:
    assert find_exit_code(errors) == exit_code
    assert Lines({}).describe(errors) == [str(each) for each in errors]


def test_token_error_is_reported_once_without_the_token() -> None:
    error = AuthenticationError(
        "401 (no such token: a-secret, nor another-one, of: client-secret)", ref=REF, status=401
    )
    with environment(SCHEDULES_TOKEN=" another-one\n", SCHEDULES_CLIENT_SECRET="client-secret"):
        assert Lines({}, "a-secret").describe([error, error]) == [
            "the token was rejected: 401 (no such token: [secret], nor [secret], of: [secret])"
        ]


def test_repr_of_report_has_no_token() -> None:
    assert "a-secret" not in repr(Lines({}, "a-secret"))


def test_short_secret_leaves_the_sentence_whole() -> None:
    """A word of the sentence is more likely than a secret of under eight characters."""
    error = AuthenticationError("401 Unauthorized", ref=REF, status=401)
    assert Lines({}, "token").describe([error]) == ["the token was rejected: 401 Unauthorized"]


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
    assert Lines({REF: "Import\n"}).describe([error]) == [sentence]


REF, OTHER = OperationRef("s", "o"), OperationRef("s", "p")
NAMES = {REF: "Import\tno. 3"}
RUNNING = Operation.from_json('{"operation": {"id": "o", "status": "Started", "percentComplete": 40}}', "s")
DONE = Operation.from_json('{"operation": {"id": "p", "status": "Succeeded"}}', "s")
FIRST, SECOND = (Throttled(REF, RateLimitedError("429"), 29.2, was_open) for was_open in (True, False))
NOT_FOUND = NotFoundError("404 (a-secret)", ref=REF, status=404, code="No a-secret")


def report_all(report: Lines) -> None:
    report.on_change(RUNNING, TimeRemaining(10, 20))
    report.on_change(DONE)
    for event in (FIRST, SECOND, TokenRenewed(was_rejected=False)):
        report.on_event(event)
    report.describe([NOT_FOUND, OperationFailedError("p failed", ref=OTHER), TransportError("no operation")])


def test_lines_have_names_and_throttling(capsys: pytest.CaptureFixture[str]) -> None:
    """The answers that arrive while the session is already throttled add no line."""
    report_all(Lines(NAMES))
    assert capsys.readouterr().out.splitlines() == [
        "Import no. 3: Started, 40 %, 10-20 s left",
        "s/p: Succeeded",
        "throttled, 30 s left",
    ]


@pytest.mark.parametrize("is_quiet", [False, True])
def test_json_has_names_and_lost_operations(capsys: pytest.CaptureFixture[str], *, is_quiet: bool) -> None:
    report_all(JsonLines(NAMES, "a-secret", is_quiet=is_quiet))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    error = {
        "type": "NotFoundError",
        "message": "operation not found: 404 ([secret])",
        "status": 404,
        "code": "No [secret]",
    }
    expected = [
        {"operation": RUNNING.to_dict(), "name": "Import\tno. 3"},
        {"operation": DONE.to_dict()},
        {"error": error, "id": "o", "scheduleId": "s", "name": "Import\tno. 3"},
    ]
    assert lines == expected[is_quiet:]


@pytest.mark.parametrize(
    ("error", "message"),
    [(OperationTimeoutError("s/p did not end", ref=OTHER), "did not end"), (SchedulesError("lost", ref=OTHER), "lost")],
)
def test_error_without_answer_has_no_status(capsys: pytest.CaptureFixture[str], error: Exception, message: str) -> None:
    JsonLines({}).describe([error])
    facts = {"type": type(error).__name__, "message": message, "status": None, "code": None}
    assert json.loads(capsys.readouterr().out) == {"error": facts, "id": "p", "scheduleId": "s"}


def test_quiet_report_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    report_all(Lines(NAMES, is_quiet=True))
    assert capsys.readouterr().out == ""


def test_throttled_line_rounds_no_inexact_time_up(capsys: pytest.CaptureFixture[str]) -> None:
    Lines(NAMES).on_event(Throttled(REF, RateLimitedError("429"), 30.000000000007, was_open=True))
    assert capsys.readouterr().out == "throttled, 30 s left\n"
