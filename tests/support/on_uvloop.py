"""A pytest plugin (`-p on_uvloop`) that runs the async tests on uvloop, which most environments do not have."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import pytest


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], Any]]:
    return {"uvloop": import_module("uvloop").new_event_loop}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what asyncio alone has: its loop shows that nothing is ready, so that a FakeClock jumps sooner."""
    for item in items:
        if item.name == "test_quiet_loop_jumps_sooner_than_busy_one":
            item.add_marker(pytest.mark.skip(reason="asyncio's own loop is quieter"))
