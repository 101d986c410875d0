"""The types as a type checker sees them."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from environment import INHERITED

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
    """Return mypy's output; `--strict` reports a waiter used as its result, `unused-awaitable` one that is dropped."""
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--enable-error-code=unused-awaitable"]
    with tempfile.TemporaryDirectory() as folder:
        forgetful = Path(folder, "forgetful.py")
        forgetful.write_text(FORGETFUL, encoding="utf-8")
        files = (str(forgetful), "tests/support/typing_usage.py")
        done = subprocess.run([*command, *files], capture_output=True, text=True, check=False, cwd=TOP, env=INHERITED)
        return done.stdout


@pytest.mark.parametrize("early", [check_forgetful], indirect=True)
def test_types_are_right_and_forgotten_await_is_flagged(early: str) -> None:
    assert "typing_usage" not in early, early
    assert 'Value of type "OperationWaiter" must be used' in early
    assert 'Value of type "OperationGroupWaiter" must be used' in early
    assert '"OperationWaiter" has no attribute "percent_complete"' in early


def test_package_is_marked_as_typed() -> None:
    assert (Path(str(schedules_async.__file__)).parent / "py.typed").exists()
