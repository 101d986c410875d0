"""What most tests stand on: a fake service on a fake clock, a session that talks to it, and a look for leftovers.

And for all of them: nothing that is logged or raised shows a token or a client secret of the tests.
"""

import asyncio
import gc
import logging
import os
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from types import CodeType
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

from schedules_async import PollingPolicy, RateLimit, SchedulesError, SchedulesSession
from schedules_async.testing import FakeClock, FakeSchedules

EVERY_SECOND = PollingPolicy.fixed(1.0)
UNLIMITED = (RateLimit(1_000_000, 1),)

SECRETS = ("canary-", "test-token", "test-secret", "dGVzdC1jbGllbnQ6dGVzdC1zZWNyZXQ")  # the last is both in base64

MakeSession = Callable[..., SchedulesSession]

# HYPOTHESIS_PROFILE=long searches for minutes and anew each time, the others in seconds and always the same.
settings.register_profile("short", deadline=None, derandomize=True, database=None, stateful_step_count=30)
settings.register_profile("unshrunk", settings.get_profile("short"), phases=[Phase.explicit, Phase.generate])
settings.register_profile(
    "long", deadline=None, max_examples=5_000, stateful_step_count=100, suppress_health_check=[HealthCheck.too_slow]
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


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Set variables of the process for a while."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    yield
    for name, value in before.items():
        os.environ.pop(name)
        os.environ.update({} if value is None else {name: value})


class HastyLoop(asyncio.SelectorEventLoop):
    """Lets its time be put forward."""

    ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead


def render(error: BaseException) -> str:
    """Write everything that an error shows: its traceback with the variables in each frame, its facts and its chain."""
    lines = list(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    part: BaseException | None = error
    while part is not None:
        lines += [repr(part), repr(vars(part))]
        part = part.__cause__ or part.__context__
    return "".join(lines)


def shows_secret(text: str) -> bool:
    return any(secret in text for secret in SECRETS)


class _Listening(logging.Handler):
    """Keeps what shows a secret, of everything that any logger says."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.showing: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        if shows_secret(text):
            self.showing.append(text)


@pytest.fixture(autouse=True)
def logs() -> Iterator[None]:
    """Let no logger show a secret, at any level."""
    root, listening = logging.getLogger(), _Listening()
    before = root.level
    root.addHandler(listening)
    root.setLevel(logging.DEBUG)
    yield
    root.setLevel(before)
    root.removeHandler(listening)
    assert listening.showing == []


@pytest.fixture(autouse=True)
def raised() -> Iterator[None]:
    """Let no error of the library show a secret in its text or facts, wherever it is raised (Python 3.12 and later)."""
    showing: list[str] = []

    def look_at(_: CodeType, __: int, error: BaseException) -> None:
        if isinstance(error, SchedulesError) and shows_secret(f"{error!r} {vars(error)} {error.__cause__!r}"):
            showing.append(type(error).__name__)

    if sys.version_info >= (3, 12):
        tool, raising = sys.monitoring.PROFILER_ID, sys.monitoring.events.RAISE
        sys.monitoring.use_tool_id(tool, "secrets")
        sys.monitoring.register_callback(tool, raising, look_at)
        sys.monitoring.set_events(tool, raising)
        yield
        sys.monitoring.set_events(tool, 0)
        sys.monitoring.free_tool_id(tool)
    else:
        yield
    assert showing == []
