"""Await a wait, or pass it to asyncio as a coroutine."""

import asyncio

from schedules_async import SchedulesSession
from schedules_async.testing import FakeSchedules


async def main() -> None:
    async with FakeSchedules() as server:
        first, second = server.start_operation(duration=1), server.start_operation(duration=2)

        async with SchedulesSession(server.token, base_url=server.url) as session:
            operation = await session.wait_for_operation(*first, timeout=60)
            print(f"{operation.ref} ended at {operation.updated_at}")

            async with asyncio.TaskGroup() as group:  # three waits for one operation share one polling loop
                tasks = [group.create_task(session.wait_for_operation(*second)) for _ in range(3)]
            print(f"{len(tasks)} waits ended, {session.stats.requests} requests in all")


asyncio.run(main())
