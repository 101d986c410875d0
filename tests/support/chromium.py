"""A real Chromium for tests, driven by playwright; tests skip where either is missing, or a kernel for notebooks is.

With SCHEDULES_REQUIRE_BROWSER=1 in the environment, as in CI, what is missing fails them.
"""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

import pytest

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
IS_REQUIRED = os.environ.get("SCHEDULES_REQUIRE_BROWSER") == "1"


def load(name: str) -> Any:
    """Return a module of the dependency group `dev`; skip the test without it."""
    return import_module(name) if IS_REQUIRED else pytest.importorskip(name, reason=f"{name} needs the group `dev`")


@asynccontextmanager
async def launched() -> AsyncIterator[Any]:
    """Run the browser inside the `with` block."""
    chromium = shutil.which("chromium")
    if chromium is None and not IS_REQUIRED:
        pytest.skip("there is no chromium")
    async with load("playwright.async_api").async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        await browser.close()
