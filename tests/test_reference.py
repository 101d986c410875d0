"""The API reference: it can be built without a warning, and lacks nothing that is public."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from chromium import load
from environment import INHERITED

TOP = Path(__file__).parent.parent
reference = load("reference")


def build() -> tuple[str, str]:
    """Return what the script prints, and the page of the package."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-W", "error", "tests/tools/reference.py", folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=TOP, env=INHERITED)
        page = Path(folder, "schedules_async.html")
        return done.stdout + done.stderr, page.read_text("utf-8") if page.exists() else ""


@pytest.mark.parametrize("early", [build], indirect=True)
def test_reference_lacks_nothing_public(early: tuple[str, str]) -> None:
    output, _ = early
    assert output.endswith("missing: nothing\n")
    assert {"schedules_async", "schedules_async.errors", "schedules_async.events"} <= {*reference.public_modules()}


@pytest.mark.parametrize("early", [build], indirect=True)
def test_missing_entry_is_reported(early: tuple[str, str], tmp_path: Path) -> None:
    _, page = early
    for entry in ("SchedulesSession.stats", "OperationGroupWaiter.aclose", "DEV"):
        page = page.replace(f'id="{entry}"', "")
    (tmp_path / "schedules_async.html").write_text(page, "utf-8")
    assert reference.missing_entries("schedules_async", tmp_path) == [
        "DEV",
        "OperationGroupWaiter.aclose",
        "SchedulesSession.stats",
    ]
