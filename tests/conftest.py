"""What most tests stand on: a fake service on a fake clock, a session that talks to it, and a look for leftovers."""

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from schedules_async import PollingPolicy, RateLimit, SchedulesSession
from schedules_async.testing import FakeClock, FakeSchedules

EVERY_SECOND = PollingPolicy.fixed(1.0)
UNLIMITED = (RateLimit(1_000_000, 1),)

MakeSession = Callable[..., SchedulesSession]


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


async def turns(count: int) -> None:
    """Let the event loop turn a number of times."""
    for _ in range(count):
        await asyncio.sleep(0)


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Set variables of the process for a while."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    yield
    for name, value in before.items():
        os.environ.pop(name)
        os.environ.update({} if value is None else {name: value})
