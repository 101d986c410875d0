"""What most tests stand on: a fake service on a fake clock, a session that talks to it, and a look for leftovers."""

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from schedules_async import PollingPolicy, RateLimit, SchedulesSession
from schedules_async.testing import FakeClock, FakeSchedules

EVERY_SECOND = PollingPolicy.fixed(1.0)
UNLIMITED = (RateLimit(1_000_000, 1),)

MakeSession = Callable[..., SchedulesSession]

# HYPOTHESIS_PROFILE=long searches for minutes and anew each time, the other one in seconds and always the same.
settings.register_profile("short", deadline=None, derandomize=True, database=None, stateful_step_count=30)
settings.register_profile(
    "long",
    deadline=None,
    max_examples=5_000,
    stateful_step_count=100,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "short"))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def server(clock: FakeClock) -> AsyncIterator[FakeSchedules]:
    async with FakeSchedules(clock=clock) as server:
        yield server


@pytest.fixture
async def make_session(server: FakeSchedules) -> AsyncIterator[MakeSession]:
    """Make sessions that look every second, without a limit of their own; they are closed in the end."""
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
    """Collect what the event loop has to complain of; the test asserts on it."""
    heard: list[dict[str, Any]] = []
    yield heard
    gc.collect()
    assert heard == []


@pytest.fixture(scope="session", autouse=True)
def jobs(request: pytest.FixtureRequest) -> Iterator[dict[str, "Future[Any]"]]:
    """Do beside the suite what the chosen tests name as `early`: run processes that mostly wait."""
    specs = {item.nodeid: getattr(item, "callspec", None) for item in request.session.items}
    with ThreadPoolExecutor(max_workers=4) as pool:
        yield {
            name: pool.submit(spec.params["early"]) for name, spec in specs.items() if spec and "early" in spec.params
        }
        pool.shutdown(cancel_futures=True)


@pytest.fixture
def early(request: pytest.FixtureRequest, jobs: dict[str, "Future[Any]"]) -> Any:
    """Give the result of the function that `parametrize` names, indirectly; it was called when the suite began."""
    return jobs[request.node.nodeid].result()


async def turns(count: int) -> None:
    """Let the event loop turn a number of times."""
    for _ in range(count):
        await asyncio.sleep(0)
