"""The examples for Temporal run together: a server, two workers, and 200 operations."""

import subprocess
import sys
from pathlib import Path

import pytest
from temporal_servers import find

EXAMPLE = Path(__file__).parents[2] / "examples" / "temporal_start.py"


@pytest.mark.temporal
def test_two_workers_wait_for_two_hundred_operations() -> None:
    find("temporal")
    command = [sys.executable, "-W", "error", str(EXAMPLE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("working\n") == 2
    assert done.stdout.endswith("200 succeeded\n")
