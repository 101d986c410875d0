"""The fixtures of most tests: a fake service on a fake clock, and sessions that talk to it."""

import gc
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from sessions import EVERY_SECOND, UNLIMITED, MakeSession
from tqdm import tqdm

from schedules_async import SchedulesSession
from schedules_async.testing import FakeClock, FakeSchedules

pytest_plugins = ("early_results", "leaks")
NEED_POSIX = ("test_main.py", "test_terminal.py")  # a terminal, or signals that Windows lacks
collect_ignore = [] if os.name == "posix" else [*NEED_POSIX]

# HYPOTHESIS_PROFILE=long searches for minutes and anew each time, the others in seconds and always the same.
REAL_TIME = [HealthCheck.too_slow]  # this check measures it
settings.register_profile(
    "short",
    max_examples=50,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=REAL_TIME,
)
settings.register_profile("unshrunk", settings.get_profile("short"), phases=[Phase.explicit, Phase.generate])
settings.register_profile(
    "long", deadline=None, max_examples=5_000, stateful_step_count=100, suppress_health_check=REAL_TIME
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "short"))


tqdm.monitor_interval = 0  # its thread never ends, and a FakeClock rests longer beside threads
gc.disable()  # what collection loads is no garbage


def pytest_collection_finish() -> None:
    """Exempt what collection has loaded from garbage collection: it lives as long as the process."""
    gc.freeze()
    gc.enable()
    gc.set_threshold(10_000)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def server(clock: FakeClock) -> AsyncIterator[FakeSchedules]:
    async with FakeSchedules(clock=clock) as server:
        yield server


@pytest.fixture
async def make_session(server: FakeSchedules) -> AsyncIterator[MakeSession]:
    """Return a function that opens sessions without a rate limit that poll every second; all are closed afterwards."""
    sessions = []

    def make(**options: Any) -> SchedulesSession:
        session = server.session(**{"polling": EVERY_SECOND, "rate_limits": UNLIMITED, **options})
        sessions.append(session)
        return session

    yield make
    for session in sessions:
        await session.close()


@pytest.fixture
async def session(make_session: MakeSession) -> SchedulesSession:
    return make_session()


@pytest.fixture
def complaints() -> Iterator[list[dict[str, Any]]]:
    """Return a list for what an event loop's exception handler receives; the test fails unless it stays empty."""
    received: list[dict[str, Any]] = []
    yield received
    gc.collect()
    assert received == []
