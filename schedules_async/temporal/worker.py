"""A Temporal worker with one session; only the session has the token."""

import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, TypedDict, Unpack

import aiohttp
from attrs import evolve
from temporalio.client import Client
from temporalio.worker import Worker
from yarl import URL

from schedules_async import Environment, PollingPolicy, RateLimit, RetryPolicy, SchedulesSession
from schedules_async._auth.tokens import Auth
from schedules_async._clock import Clock, Seconds, SystemClock
from schedules_async.temporal.activities import OperationActivities, Snapshots, pending_details, pending_percents
from schedules_async.temporal.workflows import WaitForOperations

_MAX_HEARTBEAT_THROTTLE = timedelta(seconds=1)  # the longest delay of a heartbeat, and of a cancellation in its reply


class SessionOptions(TypedDict, total=False):
    """The options of `SchedulesSession` that a worker accepts."""

    base_url: str | URL | Environment
    polling: PollingPolicy
    retry: RetryPolicy
    rate_limits: Sequence[RateLimit]
    request_timeout: Seconds
    http: aiohttp.ClientSession | None
    clock: Clock


@asynccontextmanager
async def schedules_worker(
    client: Client,
    auth: Auth,
    *,
    task_queue: str,
    polls_per_second: float | None = None,
    max_concurrent_activities: int = 1000,
    worker_options: Mapping[str, Any] | None = None,
    **session_options: Unpack[SessionOptions],
) -> AsyncIterator[Worker]:
    """Run a worker for `WaitForOperations` within the block, with one session for all waits.

    `auth` and `session_options` are passed to the session, `worker_options` to Temporal's `Worker`.
    `polls_per_second` is the rate limit of all workers of the task queue together; it counts attempts, so it is
    meant for requests with `single_polls`. A throttled poll (429) frees its slot at once. At most
    `max_concurrent_activities` waits, or single polls, run at the same time.
    """
    snapshots: Snapshots = {}
    polling, clock = session_options.get("polling", PollingPolicy()), session_options.get("clock", SystemClock())
    async with SchedulesSession(auth, snapshots=snapshots, **_without_sleep(session_options)) as session:
        activities = OperationActivities(session, snapshots, polling, clock, random.Random().random)
        async with Worker(
            client,
            task_queue=task_queue,
            workflows=[WaitForOperations],
            activities=[activities.wait, activities.poll, pending_details, pending_percents],
            max_concurrent_activities=max_concurrent_activities,
            max_task_queue_activities_per_second=polls_per_second,
            max_heartbeat_throttle_interval=_MAX_HEARTBEAT_THROTTLE,
            **(worker_options or {}),
        ) as worker:
            yield worker


def _without_sleep(options: SessionOptions) -> SessionOptions:
    """Return options with which single fetches do not sleep through a 429: Temporal schedules the next attempt."""
    return {**options, "retry": evolve(options.get("retry", RetryPolicy()), max_retry_after=0.0)}
