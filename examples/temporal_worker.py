"""Run a worker. Any number of workers can share a task queue, and each serves all of its workflows.

The environment has to contain TEMPORAL_ADDRESS, SCHEDULES_BASE_URL and SCHEDULES_TOKEN; the token stays in the worker.
"""

import asyncio
import os
import signal

from temporalio.client import Client

from schedules_async import RateLimit
from schedules_async.temporal import schedules_worker

HALF_OF_THE_QUOTA = RateLimit(2500, 60)  # of the 5000 a minute of the Standard tier, for two workers


async def main() -> None:
    client = await Client.connect(os.environ["TEMPORAL_ADDRESS"])
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def end(*_: object) -> None:
        loop.call_soon_threadsafe(stop.set)

    signal.signal(signal.SIGTERM, end)

    async with schedules_worker(
        client,
        os.environ["SCHEDULES_TOKEN"],
        task_queue="operations",
        base_url=os.environ["SCHEDULES_BASE_URL"],
        rate_limits=[HALF_OF_THE_QUOTA],
    ):
        print("working", flush=True)
        await stop.wait()
    await asyncio.sleep(0.1)  # the SDK's threads crash an interpreter that exits first (temporalio/sdk-python#300)


asyncio.run(main())
