"""A pytest plugin (`-p on_uvloop`) that runs the async tests on uvloop, which most environments do not have."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], Any]]:
    return {"uvloop": import_module("uvloop").new_event_loop}
