import builtins
import os
import pty
import re
import runpy
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

import schedules_async
from schedules_async.__main__ import main

MAIN = Path(schedules_async.__file__).with_name("__main__.py")
COMMAND = (sys.executable, "-m", "schedules_async")


def environment(**changes: str) -> dict[str, str]:
    """Give the process's environment, so that the same package is found from anywhere, without colours' wishes."""
    inherited = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    return {**inherited, "PYTHONPATH": str(MAIN.parents[1]), **changes}


def run_without(package: str) -> dict[str, Any]:
    """Run the module where a package is missing."""

    def import_others(name: str, *rest: Any) -> Any:
        if name == "schedules_async.cli.commands":
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
        return __import__(name, *rest)

    return runpy.run_path(str(MAIN), {"__builtins__": {**vars(builtins), "__import__": import_others}})


@pytest.mark.parametrize("package", ["click", "rich"])
def test_without_the_extra_one_sentence_tells_how_to_get_it(package: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_without(package)["main"]() == 2
    assert capsys.readouterr().err == (
        "schedules-async: the command line needs its extra: pip install 'schedules-async[cli]'\n"
    )


def test_another_missing_module_is_not_taken_for_the_extra() -> None:
    with pytest.raises(ModuleNotFoundError, match="aiohttp"):
        run_without("aiohttp")


def test_main_takes_the_arguments_of_the_process() -> None:
    before, sys.argv = sys.argv, ["schedules-async", "--version"]
    try:
        with redirect_stdout(StringIO()) as output:
            assert main() == 0
    finally:
        sys.argv = before
    assert output.getvalue().startswith("schedules-async, version ")


def test_the_module_runs_as_a_program() -> None:
    before, sys.argv = sys.argv, ["schedules-async", "--version"]
    try:
        with redirect_stdout(StringIO()), pytest.raises(SystemExit) as leaving:
            runpy.run_path(str(MAIN), run_name="__main__")
    finally:
        sys.argv = before
    assert leaving.value.code == 0


@pytest.mark.parametrize(("arguments", "exit_code"), [(("--version",), 0), (("get", "nonsense"), 2)])
def test_a_process_ends_with_the_exit_code(arguments: tuple[str, ...], exit_code: int) -> None:
    done = subprocess.run(
        (*COMMAND, *arguments), env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == exit_code
    assert done.stderr.count("\n") == (1 if exit_code else 0)


def test_ctrl_c_leaves_with_130_and_without_a_traceback() -> None:
    with subprocess.Popen(
        (*COMMAND, "demo"), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == ""


def test_a_closed_pipe_ends_without_a_traceback() -> None:
    with subprocess.Popen(
        (*COMMAND, "demo", "--seconds", "2"), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def run_on_a_terminal(variables: Mapping[str, str], interrupted_at: str | None = None) -> tuple[int, str]:
    """Run the demo with a terminal of its own; give the exit code and what the terminal showed."""
    terminal, its_end = pty.openpty()
    with subprocess.Popen(
        (*COMMAND, "demo", "--seconds", "2"), env=variables, stdin=its_end, stdout=its_end, stderr=its_end
    ) as process:
        os.close(its_end)
        shown = ""
        while piece := read_piece(terminal):
            shown += piece
            if interrupted_at is not None and interrupted_at in shown:
                process.send_signal(signal.SIGINT)
                interrupted_at = None
    os.close(terminal)
    return process.returncode, shown


def read_piece(terminal: int) -> str:
    try:
        return os.read(terminal, 65536).decode(errors="replace")
    except OSError:  # Linux's word for the end of a terminal
        return ""


def test_on_a_terminal_the_demo_draws_bars_and_gives_the_cursor_back() -> None:
    exit_code, shown = run_on_a_terminal(environment(TERM="xterm"))
    assert exit_code == 0
    assert shown.count("━") > 100
    assert "Rule 7 needs a calendar" in shown
    assert "✓" in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")


def test_ctrl_c_on_a_terminal_stops_the_bars_and_gives_the_cursor_back() -> None:
    exit_code, shown = run_on_a_terminal(environment(TERM="xterm"), interrupted_at="━")
    assert exit_code == 130
    assert "Traceback" not in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")


@pytest.mark.parametrize("wish", [{"TERM": "dumb"}, {"TERM": "xterm", "NO_COLOR": "1"}])
def test_a_terminal_that_cannot_or_shall_not_draw_gets_lines(wish: dict[str, str]) -> None:
    exit_code, shown = run_on_a_terminal(environment(**wish), interrupted_at="Started")
    assert exit_code == 130
    assert "\x1b[?25l" not in shown
    assert re.search(r"\d s  \S[^\n]* Started, ", shown)
