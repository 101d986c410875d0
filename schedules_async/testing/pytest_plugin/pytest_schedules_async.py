"""The pytest plugin of `schedules_async`: the fixtures `fake_schedules` and `schedules_session`.

pytest imports this module in every test run of an environment in which `schedules_async` is installed. So it is not
part of the package, whose import takes time and loads aiohttp, and imports the package only when a fixture is used.

An async fixture runs on the event loop of one plugin and, with pytest-asyncio, of one scope. So there is a private
fixture for each of these loops, and the public fixtures, which are synchronous, use that of their test's loop.
"""

from collections.abc import AsyncIterator
from importlib import import_module
from inspect import signature
from types import ModuleType
from typing import Any

import pytest

_FIXTURE = "_schedules_on_{}"  # anyio, or the scope of a loop of pytest-asyncio
_LOOP_SCOPES = ("function", "class", "module", "package", "session")


@pytest.fixture
def fake_schedules(request: pytest.FixtureRequest) -> Any:
    """Return a running `FakeSchedules` on a `FakeClock`, so that no test waits for real time."""
    return request.getfixturevalue(_fixture_for(request))[0]


@pytest.fixture
def schedules_session(request: pytest.FixtureRequest) -> Any:
    """Return a `SchedulesSession` for `fake_schedules` on the same clock; it is closed after the test."""
    return request.getfixturevalue(_fixture_for(request))[1]


def _fixture_for(request: pytest.FixtureRequest) -> str:
    """Return the name of the fixture on the test's event loop."""
    if "anyio_backend" in request.fixturenames:
        if request.getfixturevalue("anyio_backend_name") != "asyncio":
            pytest.fail("schedules_async runs on asyncio only: anyio_backend must be 'asyncio'", pytrace=False)
        return _FIXTURE.format("anyio")
    if _asyncio_fixture(request.config) is None:
        pytest.fail("fake_schedules needs a test on pytest-asyncio 0.24 or later, or marked anyio", pytrace=False)
    marker = request.node.get_closest_marker("asyncio")
    scope = marker.kwargs.get("loop_scope", marker.kwargs.get("scope")) if marker is not None else None
    return _FIXTURE.format(scope or _default_loop_scope(request.config))


def _asyncio_fixture(config: pytest.Config) -> Any:
    """Return the `fixture` of pytest-asyncio; None without it, or if it has no `loop_scope`, as before version 0.24."""
    fixture = getattr(config.pluginmanager.get_plugin("asyncio"), "fixture", None)
    return fixture if fixture is not None and "loop_scope" in signature(fixture).parameters else None


def _default_loop_scope(config: pytest.Config) -> Any:
    try:
        return config.getini("asyncio_default_test_loop_scope")
    except ValueError:  # an option of pytest-asyncio 0.26 and later
        return "function"


def pytest_configure(config: pytest.Config) -> None:
    """Register a fixture for each event loop of the installed plugins."""
    fixtures = ModuleType(f"{__name__}.fixtures")  # pytest collects fixtures from modules
    asyncio_fixture = _asyncio_fixture(config)
    for loop in ("anyio", *(_LOOP_SCOPES if asyncio_fixture is not None else ())):

        async def open_server_and_session() -> AsyncIterator[tuple[Any, Any]]:
            testing = import_module("schedules_async.testing")
            async with testing.FakeSchedules(clock=testing.FakeClock()) as server, server.session() as session:
                yield server, session

        name, options = _FIXTURE.format(loop), {} if loop == "anyio" else {"loop_scope": loop}
        make: Any = pytest.fixture if loop == "anyio" else asyncio_fixture  # which stores the scope in the function
        setattr(fixtures, name, make(open_server_and_session, name=name, **options))
    config.pluginmanager.register(fixtures)
