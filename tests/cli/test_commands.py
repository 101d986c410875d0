import asyncio
import io
import json
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from attrs import frozen
from click.testing import CliRunner

from schedules_async import Operation, RetryPolicy, __version__
from schedules_async.cli.client import open_session
from schedules_async.cli.commands import commands, run
from schedules_async.testing import Answer, FakeSchedules, fault, operation_answer, throttled

FAILED = operation_answer("Failed", failure_description="No room")
RUNNING = operation_answer("Started", percent_complete=40, sub_status="Reading")
SUCCEEDED = operation_answer("Succeeded")


@frozen
class Result:
    """The exit code of a run, and the text on its two streams."""

    exit_code: int
    output: str
    errors: str


def invoke(*arguments: str, env: Mapping[str, str | None] | None = None, lines: str = "") -> Result:
    variables = {"SCHEDULES_TOKEN": None, "SCHEDULES_BASE_URL": None, **(env or {})}
    with CliRunner().isolation(input=lines, env=variables) as (output, errors, _):
        exit_code = run(arguments)
        return Result(exit_code, output.getvalue().decode(), errors.getvalue().decode())


async def invoke_against(server: FakeSchedules, *arguments: str, lines: str = "") -> Result:
    env = {"SCHEDULES_TOKEN": server.token, "SCHEDULES_BASE_URL": server.url}
    return await asyncio.to_thread(invoke, *arguments, env=env, lines=lines)


async def invoke_on(command: str, answers: tuple[Answer, ...], *options: str) -> Result:
    async with FakeSchedules() as server:
        ref = server.script_operation(*answers, schedule_id="s", operation_id="o")
        return await invoke_against(server, command, str(ref), *options)


@pytest.mark.parametrize(
    ("answers", "exit_code", "output", "errors"),
    [
        ((RUNNING,), 0, "s/o: Started, 40 %, Reading\n", ""),
        ((SUCCEEDED,), 0, "s/o: Succeeded\n", ""),
        ((FAILED,), 1, "s/o: Failed: No room\n", "schedules-async: s/o failed: No room\n"),
    ],
)
async def test_get_prints_the_state(answers: tuple[Answer, ...], exit_code: int, output: str, errors: str) -> None:
    assert await invoke_on("get", answers) == Result(exit_code, output, errors)


@pytest.mark.parametrize(
    ("answers", "exit_code", "output", "errors"),
    [
        ((RUNNING, SUCCEEDED), 0, ["s/o: Started, 40 %, Reading", "s/o: Succeeded"], ""),
        ((FAILED,), 1, ["s/o: Failed: No room"], "schedules-async: s/o failed: No room\n"),
    ],
)
async def test_wait_prints_each_change(
    answers: tuple[Answer, ...], exit_code: int, output: list[str], errors: str
) -> None:
    result = await invoke_on("wait", answers)
    assert (result.exit_code, result.errors) == (exit_code, errors)
    assert [re.sub(r", [-\d]+ s left$", "", line) for line in result.output.splitlines()] == output


@pytest.mark.parametrize(
    ("option", "sentence"),
    [("--timeout", "s/o did not end within 0.2 s"), ("--stall-timeout", "s/o did not change for 0.2 s")],
)
async def test_wait_timeout_exits_with_3(option: str, sentence: str) -> None:
    result = await invoke_on("wait", (RUNNING,), option, "0.2")
    assert result.exit_code == 3
    states = (": last snapshot Started", "; last snapshot Started", ": no answer")  # the last on a slow machine
    assert any(result.errors.startswith(f"schedules-async: {sentence}{state}") for state in states)
    assert result.errors.count("\n") == 1


async def test_json_is_one_line_per_change() -> None:
    result = await invoke_on("wait", (RUNNING, SUCCEEDED), "--json")
    operations = [Operation.from_json(line) for line in result.output.splitlines()]
    assert [operation.percent_complete for operation in operations] == [40, 100]
    assert operations[0].ref.schedule_id == "s"
    one = await invoke_on("get", (FAILED,), "--json")
    assert one.exit_code == 1
    assert json.loads(one.output)["operation"]["failureDescription"] == "No room"


async def test_get_url_uses_only_its_ids() -> None:
    async with FakeSchedules(prefix="/api") as server:
        server.script_operation(SUCCEEDED, schedule_id="s 1", operation_id="o")
        url = " https://api.elsewhere.example/x/schedules/s%201/operations/o "
        chosen = await invoke_against(server, "get", url, "--base-url", server.url)
        assert chosen == Result(0, "s 1/o: Succeeded\n", "")
        assert [request.path for request in server.requests] == ["/api/schedules/s%201/operations/o"]


@pytest.mark.parametrize("command", ["get", "wait"])
async def test_url_of_another_service_than_configured_is_error(command: str) -> None:
    async with FakeSchedules() as server:
        result = await invoke_against(server, command, "https://api.elsewhere.example/x/schedules/s/operations/o")
        sentence = f"REF is a URL of api.elsewhere.example, but the service is {server.url}: choose one with --base-url"
        assert result == Result(2, "", f"schedules-async: {sentence} URL.\n")
        assert server.requests == []


async def test_token_file_precedes_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_bytes(b"\xef\xbb\xbf  file-token\r\n")
    async with FakeSchedules(token="file-token") as server:
        ref = server.script_operation(SUCCEEDED)
        env = {"SCHEDULES_TOKEN": "another", "SCHEDULES_BASE_URL": "https://unused.example"}
        arguments = ("get", str(ref), "--token-file", str(path), "--base-url", server.url)
        assert (await asyncio.to_thread(invoke, *arguments, env=env)).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "token", "sentence"),
    [
        ((), "some-token", "Missing command"),
        (("get",), None, "Missing argument 'REF'"),
        (("get", "s"), "some-token", "Invalid value for 'REF': 's' is neither"),
        (("get", "https://host/else"), "some-token", "not the URL of an operation"),
        (("get", "s/.."), "some-token", "operation_id must not be '..'"),
        (("get", "s/o"), None, "no token: set SCHEDULES_TOKEN"),
        (("get", "s/o"), " \n", "no token: set SCHEDULES_TOKEN"),
        (("get", "s/o"), "not usable", "an unusable token"),
        (("get", "s/o", "--base-url", "http://api.example"), "some-token", "plain http would show the token"),
        (("get", "s/o", "--token-file", "/no/such/file"), "some-token", "cannot be read: No such file or directory"),
        (("get", "s/o", "--token-file", sys.executable), "some-token", "is not a text file"),
        (("get", "s/o", "--token-file", os.devnull), "some-token", "is empty"),
        (
            ("wait", "s/o", "--timeout", "nan"),
            "some-token",
            "Invalid value for '--timeout': a duration must be at least 0, not nan",
        ),
        (
            ("wait", "s/o", "--stall-timeout", "-1"),
            "some-token",
            "'--stall-timeout': a duration must be at least 0, not -1",
        ),
        (("wait",), None, "Missing argument 'REF': an operation, or -"),
        (("wait", "-"), None, "Missing argument 'REF': an operation, or -"),
        (("wait", "s/o", "--checkpoint", "/no/such/file"), "some-token", "directory of the checkpoint file"),
        (("wait", "s/o", "--checkpoint", sys.executable), "some-token", "Cannot resume from"),
        (("serve", "--operations", "0"), "some-token", "0 is not in the range"),
        (("serve", "--seconds", "9" * 400), "some-token", "is not in the range"),
        (("wait", "s/o", "--timeout", "soon"), "some-token", "'soon' is not a duration such as 90, 90s, 10m, 2h or 1d"),
        (
            ("wait", "s/o", "--max-outage", "-1s"),
            "some-token",
            "'--max-outage': a duration must be at least 0, not -1s",
        ),
        (("get", "s/o", "--base-url", "https://[::1"), "some-token", "'https://[::1' is not a URL"),
        (("get", "s/o", "--base-url", "http://api.example"), "some-token", "plain http would"),
        (("wait", "s/o", "--base-url", "http://api.example"), "some-token", "plain http would"),
        (("get", "https://api.example/schedules/s/operations/o"), "some-token", "REF is a URL of api.example"),
        (("demo", "--seconds", "1"), "some-token", "1 is not in the range"),
        (("tidy",), "some-token", "No such command 'tidy'"),
    ],
)
def test_usage_error_is_one_sentence_exit_code_2(arguments: tuple[str, ...], token: str | None, sentence: str) -> None:
    result = invoke(*arguments, env={"SCHEDULES_TOKEN": token})
    assert result.exit_code == 2
    assert result.output == ""
    assert result.errors.startswith("schedules-async: ")
    assert sentence in result.errors
    assert result.errors.count("\n") == 1
    assert "not usable" not in result.errors


async def test_service_error_is_one_sentence_exit_code_4() -> None:
    async with FakeSchedules() as server:
        result = await invoke_against(server, "wait", "no/such")
        assert result.exit_code == 4
        assert result.errors.startswith("schedules-async: no/such: operation not found: 404 ")
        assert result.errors.count("\n") == 1
        server.reject_token(server.token)
        assert "the token was rejected: 401" in (await invoke_against(server, "get", "s/o")).errors


async def test_wait_many_exits_with_the_highest_code() -> None:
    async with FakeSchedules() as server:
        for name, answer in (("good", SUCCEEDED), ("bad", FAILED)):
            server.script_operation(answer, schedule_id="s", operation_id=name)
        lines = f"{server.url}/schedules/s/operations/bad\n\ns/none\n"
        result = await invoke_against(server, "wait", "s/good", "-", lines=lines)
    assert result.exit_code == 4
    assert sorted(result.output.splitlines()) == ["s/bad: Failed: No room", "s/good: Succeeded"]
    errors = result.errors.splitlines()
    assert errors[0] == "schedules-async: s/bad failed: No room"
    assert errors[1].startswith("schedules-async: s/none: operation not found: 404 ")


@pytest.mark.parametrize(("options", "lines"), [(("--quiet",), 0), (("-q", "--json"), 1)])
async def test_quiet_prints_errors_and_with_json_final_states(options: tuple[str, ...], lines: int) -> None:
    result = await invoke_on("wait", (RUNNING, FAILED), *options)
    assert (result.exit_code, result.errors) == (1, "schedules-async: s/o failed: No room\n")
    assert [Operation.from_json(line).is_failed for line in result.output.splitlines()] == [True] * lines


async def test_names_replace_ids_in_lines_and_sentences() -> None:
    async with FakeSchedules() as server:
        server.script_operation(FAILED, schedule_id="s", operation_id="bad")
        result = await invoke_against(server, "wait", "Import=s/bad", "-", lines="# more\nNo. 2 = s/none\n")
        assert result.output == "Import: Failed: No room\n"
        assert result.errors.startswith(
            "schedules-async: Import failed: No room\nschedules-async: No. 2: operation not"
        )
        got = await invoke_against(server, "get", "Import=s/bad")
    assert got == Result(1, "Import: Failed: No room\n", "schedules-async: Import failed: No room\n")


@pytest.mark.parametrize("options", [("get",), ("wait",), ("wait", "--quiet")])
async def test_json_has_the_error_of_a_lost_operation(options: tuple[str, ...]) -> None:
    async with FakeSchedules() as server:
        result = await invoke_against(server, *options, "--json", "Import=no/such")
    (line,) = result.output.splitlines()
    found = json.loads(line)
    error = found.pop("error")
    assert result.exit_code == 4
    assert found == {"id": "such", "scheduleId": "no", "name": "Import"}
    assert (error["type"], error["status"], error["code"]) == ("NotFoundError", 404, "OperationNotFound")
    assert error["message"].startswith("operation not found: 404 ")


async def test_throttling_is_a_line() -> None:
    result = await invoke_on("wait", (throttled(99999),))
    assert (result.exit_code, result.output) == (4, "throttled, 99999 s left\n")
    assert "throttled for too long" in result.errors


@pytest.mark.parametrize(("options", "lines"), [((), 0), (("--verbose",), 1), (("-v", "--json"), 1)])
@pytest.mark.parametrize("command", ["get", "wait"])
async def test_verbose_writes_the_log_to_stderr(command: str, options: tuple[str, ...], lines: int) -> None:
    result = await invoke_on(command, (SUCCEEDED,), *options)
    assert result.exit_code == 0
    assert len(re.findall(r"^\S+ \S+ DEBUG .* s/o: .*Succeeded", result.errors, re.MULTILINE)) == lines
    assert len(result.output.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "seconds"), [((), RetryPolicy().max_outage), (("--max-outage", "10m"), 600), (("--max-outage", "0"), 0)]
)
async def test_wait_rides_out_outages_as_asked(options: tuple[str, ...], seconds: float) -> None:
    params = commands.commands["wait"].make_context("wait", ["s/o", *options]).params
    async with open_session(
        "https://api.example", "some-token", RetryPolicy(max_outage=params["max_outage"])
    ) as session:
        assert session._retry.max_outage == seconds


async def test_wait_resumes_from_its_checkpoint(tmp_path: Path) -> None:
    """Ended operations are not requested again; the file is deleted once all have ended."""
    path = tmp_path / "wait.json"
    async with FakeSchedules() as server:
        early = server.script_operation(SUCCEEDED, schedule_id="s", operation_id="early")
        first = await invoke_against(server, "wait", "s/early", "s/late", "--checkpoint", str(path))
        assert (first.exit_code, path.exists()) == (4, True)
        server.script_operation(SUCCEEDED, schedule_id="s", operation_id="late")
        second = await invoke_against(server, "wait", "--checkpoint", str(path))
        assert len(server.requests_for(early)) == 1
    assert second == Result(0, "s/early: Succeeded\ns/late: Succeeded\n", "")
    assert not path.exists()


async def test_get_uses_client_credentials_of_the_environment() -> None:
    async with FakeSchedules() as server:
        ref = server.script_operation(SUCCEEDED)
        env = {
            "SCHEDULES_CLIENT_ID": server.client_id,
            "SCHEDULES_CLIENT_SECRET": server.client_secret,
            "SCHEDULES_TOKEN_URL": server.token_url,
            "SCHEDULES_BASE_URL": server.url,
        }
        assert (await asyncio.to_thread(invoke, "get", str(ref), env=env)).exit_code == 0
        env["SCHEDULES_CLIENT_SECRET"] = "canary-wrong"
        result = await asyncio.to_thread(invoke, "get", str(ref), env=env)
    assert result.exit_code == 4
    assert result.errors.startswith("schedules-async: no token could be obtained from 127.0.0.1: ")
    assert "canary" not in result.errors


def test_shell_completion_lists_commands() -> None:
    env = {"_SCHEDULES_ASYNC_COMPLETE": "bash_complete", "COMP_WORDS": "schedules-async wa", "COMP_CWORD": "1"}
    assert invoke(env=env) == Result(0, "plain,wait\n", "")


async def test_service_error_includes_the_correlation_id() -> None:
    result = await invoke_on("get", (fault(501, correlation_id="c-1"),))
    assert result == Result(4, "", "schedules-async: s/o: server error: 501 Not Implemented, correlation id c-1\n")


def test_help_and_version_are_printed() -> None:
    helped = invoke("--help")
    assert helped.exit_code == 0
    assert "schedules-async serve --operations 20" in helped.output
    assert "SCHEDULES_CLIENT_ID and SCHEDULES_CLIENT_SECRET" in helped.output
    assert "130 interrupted (Ctrl-C)" in helped.output
    assert invoke("--version").output == f"schedules-async, version {__version__}\n"
    assert "--checkpoint import.json - < operations.txt" in invoke("wait", "-h").output


def test_demo_without_terminal_prints_plain_lines() -> None:
    result = invoke("demo", "--seconds", "2")
    assert (result.exit_code, result.errors) == (0, "")
    assert "\x1b" not in result.output
    lines, _, summary = result.output.partition("\n\n")
    assert all(f" {name} " in lines for name in ("steady", "in steps", "stuck at 99 %", "silent", "S-curve"))
    assert lines.count("Succeeded") == 5
    assert "Failed: Rule 7 needs a calendar" in lines
    assert "throttled, 1 s left\n" in lines
    assert summary.count("Succeeded") == 5
    assert " saved by 304" in summary
    assert " answered 429" in summary
    assert summary.endswith("One operation fails on purpose.\n")


@contextmanager
def terminal() -> Iterator[tuple[io.TextIOWrapper, list[bytes]]]:
    """Yield a terminal to write to, and the list of pieces that were written; skip the test on Windows."""
    if os.name != "posix":
        pytest.skip("Windows has no pseudo-terminals")
    read_end, write_end = os.openpty()
    pieces: list[bytes] = []

    def read() -> None:
        while piece := read_piece(read_end):
            pieces.append(piece)

    reader = threading.Thread(target=read)
    reader.start()
    with ExitStack() as stack:
        stack.callback(os.close, read_end)
        stack.callback(reader.join)
        yield stack.enter_context(io.TextIOWrapper(io.FileIO(write_end, "w"), "utf-8")), pieces


def read_piece(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # how Linux reports the end of a terminal
        return b""


@pytest.mark.parametrize("is_redirected", [False, True])
async def test_wait_on_a_terminal_draws_bars_beside_json(*, is_redirected: bool) -> None:
    environment = {"TERM": "xterm", "NO_COLOR": None}
    redirected = io.StringIO()
    with terminal() as (screen, pieces):
        async with FakeSchedules() as server:
            ref = server.script_operation(RUNNING, SUCCEEDED)
            options = ["--base-url", server.url, *(["--json"] if is_redirected else [])]
            runner = CliRunner().isolation(env={**environment, "SCHEDULES_TOKEN": server.token})
            output = redirected if is_redirected else screen
            with runner, redirect_stdout(output), redirect_stderr(screen):
                assert await asyncio.to_thread(run, ["wait", str(ref), *options]) == 0
    shown = b"".join(pieces).decode()
    assert "✓" in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
    assert len(redirected.getvalue().splitlines()) == (2 if is_redirected else 0)
    assert '"operation"' not in shown
    assert f"{ref}: " not in shown, "the bars replace the lines"


class Interrupting(io.StringIO):
    """A stream that raises a signal, once, at the first line."""

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__()
        self.number: int | None = number

    def write(self, text: str) -> int:
        number, self.number = self.number, None
        if number is not None:
            signal.raise_signal(number)
        return len(text)


def test_ctrl_c_exits_with_130_silently() -> None:
    errors = io.StringIO()
    with redirect_stdout(Interrupting()), redirect_stderr(errors):
        assert run(["demo"]) == 130
    assert errors.getvalue() == ""


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_wait_says_how_to_resume(tmp_path: Path, number: int, exit_code: int) -> None:
    with FakeSchedules() as server:
        ref, path = server.start_operation(3600), tmp_path / "wait.json"
        variables = {"SCHEDULES_TOKEN": server.token, "SCHEDULES_BASE_URL": server.url}
        for options, resume in (((), "keep waiting"), (("--checkpoint", str(path)), f"resume from {path}")):
            with CliRunner().isolation(env=variables) as (_, errors, __), redirect_stdout(Interrupting(number)):
                assert run(["wait", str(ref), *options]) == exit_code
                assert errors.getvalue().decode() == (
                    "schedules-async: Interrupted. The operations continue on the service; run the same command again "
                    f"to {resume}.\n"
                )
    assert path.exists()


class InterruptedInput(io.BytesIO):
    """Standard input at which Ctrl-C is pressed."""

    def read(self, _: int | None = -1) -> bytes:
        raise KeyboardInterrupt


class Interrupted(io.StringIO):
    """A stream at whose first write the user presses Ctrl-C."""

    def write(self, _: str) -> int:
        raise KeyboardInterrupt


def test_ctrl_c_while_a_sentence_is_printed_exits_130() -> None:
    with redirect_stderr(Interrupted()):
        assert run(["no-such-command"]) == 130


def test_ctrl_c_at_standard_input_exits_with_130() -> None:
    before, sys.stdin = sys.stdin, io.TextIOWrapper(InterruptedInput())
    try:
        with redirect_stderr(io.StringIO()) as errors:
            assert run(["wait", "-"]) == 130
    finally:
        sys.stdin = before
    assert errors.getvalue() == ""


def test_unreadable_certificates_are_one_sentence() -> None:
    result = invoke("get", "s/o", env={"SCHEDULES_TOKEN": "some-token", "SSL_CERT_FILE": "/no/such"})
    sentence = "The file /no/such of $SSL_CERT_FILE cannot be read: No such file or directory."
    assert result == Result(2, "", f"schedules-async: {sentence}\n")


def test_closed_pipe_exits_with_141_silently(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    output, log = io.TextIOWrapper(io.FileIO(writing, "w")), tmp_path / "errors"
    with output, log.open("w") as errors, redirect_stdout(output), redirect_stderr(errors):
        assert run(["--help"]) == 141
        output.write("discarded without an error")
    assert log.read_text() == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_full_disk_is_one_sentence(tmp_path: Path) -> None:
    log = tmp_path / "errors"
    with ExitStack() as stack:
        stack.enter_context(redirect_stdout(stack.enter_context(Path("/dev/full").open("w"))))
        stack.enter_context(redirect_stderr(stack.enter_context(log.open("w"))))
        assert run(["--version"]) == 4
    assert log.read_text() == "schedules-async: System error: No space left on device.\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_line_of_an_event_may_meet_full_disk(tmp_path: Path) -> None:
    """The line cannot end the wait, and is still in the buffer in the end."""
    log = tmp_path / "errors"
    with ExitStack() as stack:
        server = stack.enter_context(FakeSchedules())
        ref = server.script_operation(throttled(99999))
        stack.enter_context(CliRunner().isolation(env={"SCHEDULES_TOKEN": server.token}))
        stack.enter_context(redirect_stdout(stack.enter_context(Path("/dev/full").open("w"))))
        stack.enter_context(redirect_stderr(stack.enter_context(log.open("w"))))
        assert run(["wait", str(ref), "--base-url", server.url]) == 4
    assert log.read_text().splitlines()[-1] == "schedules-async: System error: No space left on device."


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_errors_that_cannot_be_written_keep_exit_code(tmp_path: Path) -> None:
    with ExitStack() as stack:
        stack.enter_context(redirect_stdout(stack.enter_context((tmp_path / "output").open("w"))))
        errors = stack.enter_context(Path("/dev/full").open("w"))
        stack.enter_context(redirect_stderr(errors))
        assert run(["get"]) == 2
        errors.flush()  # as the interpreter does in the end


def test_serve_used_port_is_one_sentence(tmp_path: Path) -> None:
    log = tmp_path / "errors"
    with ExitStack() as stack:
        taken = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        stack.enter_context(redirect_stdout(stack.enter_context((tmp_path / "output").open("w"))))
        stack.enter_context(redirect_stderr(stack.enter_context(log.open("w"))))
        port = taken.getsockname()[1]
        assert run(["serve", "--host", "127.0.0.1", "--port", str(port)]) == 4
    assert log.read_text() == (
        f"schedules-async: Port {port} is already in use: choose another with --port, or omit it for any free port.\n"
    )
