"""The pytest plugin: the fixtures `fake_schedules` and `schedules_session`, on the event loop of the test that asks.

An async fixture runs on the loop of one plugin, and with pytest-asyncio of one scope. So the server and its session
are made by a fixture for each of these loops, and the public fixtures, which are plain, pick the one of their test.
"""

from collections.abc import AsyncIterator, Callable
from types import ModuleType

import pytest

from schedules_async import SchedulesSession
from schedules_async.testing.fake_clock import FakeClock
from schedules_async.testing.fake_server import FakeSchedules

Pair = tuple[FakeSchedules, SchedulesSession]

_ANYIO = "_schedules_on_anyio"
_ASYNCIO = "_schedules_on_asyncio_{}"
_LOOP_SCOPES = ("function", "class", "module", "package", "session")


@pytest.fixture
def fake_schedules(_schedules: Pair) -> FakeSchedules:
    """Give a running fake of the service, on a fake clock: no test waits."""
    return _schedules[0]


@pytest.fixture
def schedules_session(_schedules: Pair) -> SchedulesSession:
    """Give a session that talks to `fake_schedules`, on the same clock; it is closed when the test has ended."""
    return _schedules[1]


@pytest.fixture
def _schedules(request: pytest.FixtureRequest) -> Pair:
    pair: Pair = request.getfixturevalue(_fixture_for(request))
    return pair


def _fixture_for(request: pytest.FixtureRequest) -> str:
    """Name the fixture on the loop that runs the test."""
    if "anyio_backend" in request.fixturenames:
        if request.getfixturevalue("anyio_backend_name") != "asyncio":
            pytest.fail("schedules_async runs on asyncio alone: let anyio_backend give 'asyncio'", pytrace=False)
        return _ANYIO
    if not request.config.pluginmanager.has_plugin("asyncio"):
        pytest.fail("fake_schedules needs a test on pytest-asyncio, or one marked anyio", pytrace=False)
    marker = request.node.get_closest_marker("asyncio")
    scope = marker.kwargs.get("loop_scope") if marker is not None else None
    return _ASYNCIO.format(scope or request.config.getini("asyncio_default_test_loop_scope"))


def _opener() -> Callable[[], AsyncIterator[Pair]]:
    """Make the function of a fixture; each has its own, for pytest-asyncio writes the loop's scope on it."""

    async def open_both() -> AsyncIterator[Pair]:
        async with FakeSchedules(clock=FakeClock()) as server, server.session() as session:
            yield server, session

    return open_both


def pytest_configure(config: pytest.Config) -> None:
    """Make the fixtures on the loops of those plugins that are there."""
    loops = ModuleType(f"{__name__}.loops")  # pytest reads fixtures off modules
    setattr(loops, _ANYIO, pytest.fixture(_opener(), name=_ANYIO))
    asyncio_plugin = config.pluginmanager.get_plugin("asyncio")
    if asyncio_plugin is not None:
        for scope in _LOOP_SCOPES:
            name = _ASYNCIO.format(scope)
            setattr(loops, name, asyncio_plugin.fixture(_opener(), loop_scope=scope, name=name))
    config.pluginmanager.register(loops)
