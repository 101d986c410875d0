"""The worker: Temporal's own, around one session, which alone knows the token."""

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, TypedDict, Unpack

import aiohttp
from attrs import evolve
from temporalio.client import Client
from temporalio.worker import Worker
from yarl import URL

from schedules_async import (
    Clock,
    Operation,
    OperationRef,
    PollingPolicy,
    RateLimit,
    RetryPolicy,
    SchedulesSession,
    TokenProvider,
)
from schedules_async._clock import Seconds, SystemClock
from schedules_async.temporal.activities import OperationActivities
from schedules_async.temporal.standing import memories, percents
from schedules_async.temporal.workflows import WaitForOperations

_HEARTBEATS_AT_MOST_EVERY = timedelta(seconds=1)  # a snapshot is with the engine, and a cancellation here, so soon


class SessionOptions(TypedDict, total=False):
    """What `SchedulesSession` takes, as it takes it."""

    base_url: str | URL
    polling: PollingPolicy
    retry: RetryPolicy
    rate_limits: Sequence[RateLimit]
    request_timeout: Seconds
    http: aiohttp.ClientSession | None
    clock: Clock


@asynccontextmanager
async def schedules_worker(
    client: Client,
    auth: str | Callable[[], Awaitable[str]] | TokenProvider,
    *,
    task_queue: str,
    polls_per_second: float | None = None,
    max_concurrent_activities: int = 1000,
    worker_options: Mapping[str, Any] | None = None,
    **session_options: Unpack[SessionOptions],
) -> AsyncIterator[Worker]:
    """Run a worker for `WaitForOperations` for as long as the block lasts, with one session for all its waits.

    `auth` and `session_options` are the session's, `worker_options` Temporal's. `polls_per_second` is what all
    workers of the task queue together may start, when each attempt is one look; a look that is refused with 429 then
    frees its slot at once. Each of `max_concurrent_activities` is one wait, or one look.
    """
    snapshots: dict[OperationRef, Operation] = {}
    options = session_options.copy()
    options["retry"] = evolve(options.get("retry", RetryPolicy()), max_retry_after=0.0)
    async with SchedulesSession(auth, snapshots=snapshots, **options) as session:
        activities = OperationActivities(
            session,
            snapshots,
            options.get("polling", PollingPolicy()),
            options.get("clock", SystemClock()),
            random.Random().random,
        )
        worker = Worker(
            client,
            task_queue=task_queue,
            workflows=[WaitForOperations],
            activities=[activities.wait, activities.poll, memories, percents],
            max_concurrent_activities=max_concurrent_activities,
            max_task_queue_activities_per_second=polls_per_second,
            max_heartbeat_throttle_interval=_HEARTBEATS_AT_MOST_EVERY,
            **(worker_options or {}),
        )
        async with worker:
            yield worker
