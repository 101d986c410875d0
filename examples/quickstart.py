"""Wait for one operation and follow its progress."""

import asyncio

from schedules_async import SchedulesSession
from schedules_async.testing import FakeSchedules


async def main() -> None:
    async with FakeSchedules() as server:  # replaces the service; needs no token and no network
        ref = server.start_operation(duration=3)

        async with SchedulesSession(server.token, base_url=server.url) as session:
            async for operation in session.wait_for_operation(*ref):
                print(f"{operation.status}: {operation.percent_complete:.0f} %")


asyncio.run(main())
