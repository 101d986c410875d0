"""The API reference: it can be built without a warning, and lacks nothing that is public."""

from pathlib import Path
from typing import Any

import pytest
from chromium import load

reference = load("reference")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reference")


@pytest.fixture(scope="module")
def missing(folder: Path) -> Any:
    return reference.build(folder)


def test_nothing_public_is_missing(missing: list[str]) -> None:
    assert missing == []
    assert {"schedules_async", "schedules_async.errors", "schedules_async.events"} <= {*reference.public_modules()}


def test_what_is_missing_is_found(folder: Path, missing: list[str]) -> None:
    assert missing == []
    page = folder / "schedules_async.html"
    text = page.read_text("utf-8")
    for entry in ("SchedulesSession.stats", "OperationGroupWaiter.aclose", "DEV"):
        text = text.replace(f'id="{entry}"', "")
    page.write_text(text, "utf-8")
    assert reference.missing_entries("schedules_async", folder) == [
        "DEV",
        "OperationGroupWaiter.aclose",
        "SchedulesSession.stats",
    ]
