"""What type checkers see."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import schedules_async

TOP = Path(__file__).parent.parent

FORGETFUL = """
from schedules_async import SchedulesSession

async def forget(session: SchedulesSession) -> float:
    session.wait_for_operation("schedule", "operation")
    session.wait_for_operations([("schedule", "operation")])
    return session.wait_for_operation("schedule", "operation").percent_complete
"""


def check_forgetful() -> str:
    """Plain `--strict` flags the use of a wait as its result; a statement needs the code `unused-awaitable`."""
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--enable-error-code=unused-awaitable"]
    with tempfile.TemporaryDirectory() as folder:
        forgetful = Path(folder, "forgetful.py")
        forgetful.write_text(FORGETFUL, encoding="utf-8")
        files = (str(forgetful), "tests/support/typing_usage.py")
        return subprocess.run([*command, *files], capture_output=True, text=True, check=False, cwd=TOP).stdout


@pytest.mark.parametrize("early", [check_forgetful], indirect=True)
def test_users_types_are_right_and_a_forgotten_await_is_flagged(early: str) -> None:
    assert "typing_usage" not in early, early
    assert 'Value of type "OperationWaiter" must be used' in early
    assert 'Value of type "OperationGroupWaiter" must be used' in early
    assert '"OperationWaiter" has no attribute "percent_complete"' in early


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(str(schedules_async.__file__)).parent / "py.typed").exists()
