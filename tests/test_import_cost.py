"""What importing the package brings along."""

import subprocess
import sys

BESIDE = {
    "rich",
    "click",
    "schedules_async.testing",
    "schedules_async.cli",
    "schedules_async.temporal",
    "temporalio",
    "pytest",
    "numpy",
}


def test_neither_the_testing_kit_nor_an_extra_is_imported() -> None:
    code = "import sys, schedules_async; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = set(result.stdout.split())
    assert "schedules_async.session" in modules
    assert modules & BESIDE == set()
