"""A pytest plugin (`-p on_uvloop`) that runs the async tests on uvloop, which is not installed in most environments."""

from importlib import import_module
from typing import Any

import pytest


@pytest.fixture(scope="session")
def event_loop_policy() -> Any:
    return import_module("uvloop").EventLoopPolicy()
