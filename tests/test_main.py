import builtins
import os
import pty
import re
import runpy
import signal
import subprocess
import sys
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from environment import INHERITED

import schedules_async
from schedules_async.__main__ import main
from schedules_async._waiters.checkpoint import read_checkpoint
from schedules_async.testing import FakeSchedules

MAIN = Path(schedules_async.__file__).with_name("__main__.py")
COMMAND = (sys.executable, "-m", "schedules_async")


def environment(**changes: str) -> dict[str, str]:
    """Return the environment of a process that imports this package, without variables that force or forbid colours."""
    inherited = {name: value for name, value in INHERITED.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    return {**inherited, "PYTHONPATH": str(MAIN.parents[1]), **changes}


def run_without(package: str) -> dict[str, Any]:
    """Run the module as if a package were missing."""

    def import_others(name: str, *rest: Any) -> Any:
        if name == "schedules_async.cli.commands":
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
        return __import__(name, *rest)

    return runpy.run_path(str(MAIN), {"__builtins__": {**vars(builtins), "__import__": import_others}})


@pytest.mark.parametrize("package", ["click", "rich"])
def test_missing_extra_says_how_to_install_it(package: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_without(package)["main"]() == 2
    assert capsys.readouterr().err == (
        "schedules-async: the command needs its extra: pip install 'schedules-async[cli]'\n"
    )


def test_other_missing_module_is_raised() -> None:
    with pytest.raises(ModuleNotFoundError, match="aiohttp"):
        run_without("aiohttp")


def test_main_uses_the_arguments_of_the_process() -> None:
    before, sys.argv = sys.argv, ["schedules-async", "--version"]
    try:
        with redirect_stdout(StringIO()) as output:
            assert main() == 0
    finally:
        sys.argv = before
    assert output.getvalue().startswith("schedules-async, version ")


def test_module_runs_as_a_program() -> None:
    before, sys.argv = sys.argv, ["schedules-async", "--version"]
    try:
        with redirect_stdout(StringIO()), pytest.raises(SystemExit) as raised:
            runpy.run_path(str(MAIN), run_name="__main__")
    finally:
        sys.argv = before
    assert raised.value.code == 0


def wait_until(number: int) -> tuple[int | None, str, str, bool]:
    """Send a signal to a wait with a checkpoint at its first line.

    Return the exit code, the texts on stdout and stderr, and whether the checkpoint is whole.
    """
    with FakeSchedules() as server, TemporaryDirectory() as folder:
        ref, path = server.start_operation(3600, schedule_id="s", operation_id="o"), Path(folder, "wait.json")
        variables = environment(SCHEDULES_TOKEN=server.token, SCHEDULES_BASE_URL=server.url)
        with subprocess.Popen(
            (*COMMAND, "wait", str(ref), "--checkpoint", str(path)),
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            process.send_signal(number)
            _, errors = process.communicate(timeout=60)
        return process.returncode, line, errors.replace(folder, ""), read_checkpoint(path.read_text()).refs == (ref,)


@pytest.mark.parametrize(
    ("early", "exit_code"),
    [
        (partial(wait_until, signal.SIGINT), 130),
        (partial(wait_until, signal.SIGTERM), 143),
        (partial(wait_until, signal.SIGHUP), 129),
    ],
    indirect=["early"],
)
def test_signal_leaves_checkpoint_and_says_how_to_resume(early: tuple[int, str, str, bool], exit_code: int) -> None:
    code, line, errors, is_whole = early
    assert (code, is_whole) == (exit_code, True)
    assert line.startswith("s/o: Started")
    assert errors == (
        "schedules-async: Interrupted. The operations continue on the service; run the same command again to resume "
        "from /wait.json.\n"
    )


def run_in_shell(tail: str) -> tuple[int, str, str]:
    """Run the command with closed streams; return the exit code and the texts on stdout and stderr."""
    with FakeSchedules() as server:
        server.start_operation(0, schedule_id="s", operation_id="o")
        variables = environment(SCHEDULES_TOKEN=server.token, SCHEDULES_BASE_URL=server.url)
        done = subprocess.run(
            ("sh", "-c", f'"$0" -m schedules_async {tail}', sys.executable),
            env=variables,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("early", "expected"),
    [
        (partial(run_in_shell, "wait s/o >&-"), (0, "", "")),
        (partial(run_in_shell, "get s/o >&- 2>&-"), (0, "", "")),
        (partial(run_in_shell, "get no/such <&- >&- 2>&-"), (4, "", "")),
        (partial(run_in_shell, "wait s/o <&- 2>&-"), (0, "s/o: Succeeded\n", "")),
        (
            partial(run_in_shell, "wait - <&-"),
            (2, "", "schedules-async: Invalid value for 'REF...': standard input is closed\n"),
        ),
    ],
    indirect=["early"],
)
def test_closed_stream_is_no_error(early: tuple[int, str, str], expected: tuple[int, str, str]) -> None:
    assert early == expected


def hang_up() -> tuple[int | None, bool]:
    """Close the terminal of a demo at its first bars; return the exit code, and whether bars were drawn."""
    terminal, child_end = pty.openpty()
    place = os.ttyname(child_end)  # what opens it first, in a session of its own, is told when it hangs up
    command = ("sh", "-c", f'exec "$@" <{place} >{place} 2>&1', "sh", *COMMAND, "demo", "--seconds", "25")
    with subprocess.Popen(command, env=environment(TERM="xterm"), start_new_session=True) as process:
        shown = ""
        while "━" not in shown and (piece := read_piece(terminal)):
            shown += piece
        os.close(child_end)
        os.close(terminal)
    return process.returncode, "━" in shown


@pytest.mark.parametrize("early", [hang_up], indirect=True)
def test_terminal_that_hangs_up_ends_the_process(early: tuple[int, bool]) -> None:
    assert early == (129, True)


def close_the_pipe() -> tuple[int | None, bytes]:
    """Close the pipe after one line of the demo; return the exit code and the text on stderr."""
    with subprocess.Popen(
        (*COMMAND, "demo", "--seconds", "25"), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
    return process.returncode, errors


@pytest.mark.parametrize("early", [close_the_pipe], indirect=True)
def test_closed_pipe_exits_with_141_without_traceback(early: tuple[int, bytes]) -> None:
    assert early == (141, b"")


def run_on_a_terminal(
    variables: dict[str, str], interrupted_at: str | None = None, number: int = signal.SIGINT
) -> tuple[int, str]:
    """Run the demo in a terminal; return the exit code and what was written to the terminal."""
    terminal, child_end = pty.openpty()
    seconds = "2" if interrupted_at is None else "25"
    with subprocess.Popen(
        (*COMMAND, "demo", "--seconds", seconds),
        env=environment(**variables),
        stdin=child_end,
        stdout=child_end,
        stderr=child_end,
    ) as process:
        os.close(child_end)
        shown = ""
        while piece := read_piece(terminal):
            shown += piece
            if interrupted_at is not None and interrupted_at in shown:
                process.send_signal(number)
                interrupted_at = None
    os.close(terminal)
    return process.returncode, shown


def read_piece(terminal: int) -> str:
    try:
        return os.read(terminal, 65536).decode(errors="replace")
    except OSError:  # how Linux reports the end of a terminal
        return ""


@pytest.mark.parametrize("early", [partial(run_on_a_terminal, {"TERM": "xterm"})], indirect=True)
def test_demo_on_a_terminal_restores_the_cursor(early: tuple[int, str]) -> None:
    exit_code, shown = early
    assert exit_code == 0
    assert shown.count("━") > 100
    assert "Rule 7 needs a calendar" in shown
    assert "✓" in shown
    assert "✗" in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")


interrupt_without_colour = partial(run_on_a_terminal, {"TERM": "xterm", "NO_COLOR": "1"}, "━", signal.SIGINT)


@pytest.mark.parametrize(
    ("early", "expected"),
    [
        (interrupt_without_colour, 130),
        (partial(run_on_a_terminal, {"TERM": "xterm"}, "━", signal.SIGTERM), 143),
        (partial(run_on_a_terminal, {"TERM": "xterm"}, "━", signal.SIGHUP), 129),
    ],
    indirect=["early"],
)
def test_signal_on_a_terminal_restores_the_cursor(early: tuple[int, str], expected: int) -> None:
    exit_code, shown = early
    assert exit_code == expected
    assert "Traceback" not in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")


@pytest.mark.parametrize("early", [interrupt_without_colour], indirect=True)
def test_no_color_draws_bars_without_colour(early: tuple[int, str]) -> None:
    exit_code, shown = early
    assert exit_code == 130
    assert "\x1b[?25l" in shown
    assert not re.search(r"\x1b\[(\d+;)*[34]\d", shown)


@pytest.mark.parametrize(
    "early", [partial(run_on_a_terminal, {"TERM": "dumb"}, interrupted_at="Started")], indirect=True
)
def test_dumb_terminal_prints_lines(early: tuple[int, str]) -> None:
    exit_code, shown = early
    assert exit_code == 130
    assert "\x1b" not in shown
    assert re.search(r"\d s  \S[^\n]* Started, ", shown)


@pytest.mark.parametrize("early", [partial(run_in_shell, "demo --seconds 2")], indirect=True)
def test_demo_logs_nothing_to_stderr(early: tuple[int, str, str]) -> None:
    """Throttling is logged at WARNING, which Python prints where no handler is set."""
    exit_code, _, on_stderr = early
    assert (exit_code, on_stderr) == (0, "")
