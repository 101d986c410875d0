"""What type checkers see."""

import subprocess
import sys
from pathlib import Path

import schedules_async

TOP = Path(__file__).parent.parent

FORGETFUL = """
from schedules_async import SchedulesSession

async def forget(session: SchedulesSession) -> float:
    session.wait_for_operation("schedule", "operation")
    return session.wait_for_operation("schedule", "operation").percent_complete
"""


def mypy(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mypy", "--strict", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=TOP)


def test_users_types_are_right_and_a_forgotten_await_is_flagged(tmp_path: Path) -> None:
    """Plain `--strict` flags the use of a wait as its result; a statement needs the code `unused-awaitable`."""
    forgetful = tmp_path / "forgetful.py"
    forgetful.write_text(FORGETFUL, encoding="utf-8")
    result = mypy("--config-file=", "--enable-error-code=unused-awaitable", str(forgetful), "tests/typing_usage.py")
    assert "typing_usage" not in result.stdout, result.stdout
    assert 'Value of type "OperationWaiter" must be used' in result.stdout
    assert '"OperationWaiter" has no attribute "percent_complete"' in result.stdout


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(str(schedules_async.__file__)).parent / "py.typed").exists()
