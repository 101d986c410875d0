"""Options of the sessions that most tests use."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from schedules_async import PollingPolicy, RateLimit, SchedulesSession
from schedules_async.testing import FakeSchedules

EVERY_SECOND = PollingPolicy.fixed(1.0)
UNLIMITED = (RateLimit(1_000_000, 1),)

MakeSession = Callable[..., SchedulesSession]


@asynccontextmanager
async def traced_session(
    server: FakeSchedules, signal: str, kind: type[Exception], **options: Any
) -> AsyncIterator[SchedulesSession]:
    """Yield a session that borrows an http client, whose trace config raises an exception at a signal."""

    async def trace(*arguments: object) -> None:
        del arguments  # they hold the request's headers
        raise kind("collector is down")

    config = aiohttp.TraceConfig()
    getattr(config, signal).append(trace)
    async with (
        aiohttp.ClientSession(trace_configs=[config]) as http,
        server.session(http=http, **options) as session,
    ):
        yield session
