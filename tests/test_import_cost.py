"""The modules that importing the package imports."""

import subprocess
import sys

import pytest
from environment import INHERITED

BESIDE = {
    "rich",
    "tqdm",
    "click",
    "schedules_async.testing",
    "schedules_async.cli",
    "schedules_async.temporal",
    "temporalio",
    "pytest",
    "numpy",
}


def imported_modules() -> set[str]:
    code = "import sys, schedules_async; print(*sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=INHERITED)
    return set(done.stdout.split())


@pytest.mark.parametrize("early", [imported_modules], indirect=True)
def test_import_brings_neither_testing_nor_extras(early: set[str]) -> None:
    assert "schedules_async._session" in early
    assert early & BESIDE == set()
