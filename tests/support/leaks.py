"""A search for the tests' tokens and client secrets in whatever a test logs, raises or prints.

As a pytest plugin, the module applies the search to the logs and the errors of every test.
"""

import logging
import sys
import traceback
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from types import CodeType

import pytest

from schedules_async import SchedulesError

_SEARCH = pytest.StashKey[ExitStack]()
SECRETS = ("canary-", "test-token", "test-secret", "dGVzdC1jbGllbnQ6dGVzdC1zZWNyZXQ")  # the last is both in base64


def shows_secret(text: str) -> bool:
    """True if `text` contains a token or a client secret of the tests."""
    return any(secret in text for secret in SECRETS)


def render(error: BaseException) -> str:
    """Return all that an error shows: its traceback with the variables in each frame, its facts and its chain."""
    lines = list(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    part: BaseException | None = error
    while part is not None:
        lines += [repr(part), repr(vars(part))]
        part = part.__cause__ or part.__context__
    return "".join(lines)


class _LeakHandler(logging.Handler):
    """Collects the log lines of all loggers that contain a secret."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.leaks: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        if shows_secret(text):
            self.leaks.append(text)


@contextmanager
def no_secret_is_logged() -> Iterator[None]:
    """Fail the test if any logger writes a secret, at any level."""
    root, handler = logging.getLogger(), _LeakHandler()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield
    root.setLevel(before)
    root.removeHandler(handler)
    assert handler.leaks == []


@contextmanager
def no_secret_is_raised() -> Iterator[None]:
    """Fail the test if an error of the library is raised with a secret in its text or facts (Python 3.12 and later)."""
    leaks: list[str] = []

    def check(_: CodeType, __: int, error: BaseException) -> None:
        if isinstance(error, SchedulesError) and shows_secret(f"{error!r} {vars(error)} {error.__cause__!r}"):
            leaks.append(type(error).__name__)

    if sys.version_info >= (3, 12):
        tool, raising = sys.monitoring.PROFILER_ID, sys.monitoring.events.RAISE
        sys.monitoring.use_tool_id(tool, "secrets")
        sys.monitoring.register_callback(tool, raising, check)
        sys.monitoring.set_events(tool, raising)
        yield
        sys.monitoring.set_events(tool, 0)
        sys.monitoring.free_tool_id(tool)
    else:
        yield
    assert leaks == []


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    """Begin the search; as hooks, for every test, it costs a fraction of what fixtures do."""
    item.stash[_SEARCH] = search = ExitStack()
    search.enter_context(no_secret_is_logged())
    search.enter_context(no_secret_is_raised())
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    with item.stash[_SEARCH]:
        return (yield)
