"""Display a progress bar for each operation of a wait."""

import asyncio

from schedules_async import SchedulesSession
from schedules_async.progress import RichProgress
from schedules_async.testing import FakeSchedules


async def main() -> None:
    async with FakeSchedules() as server:
        names = {
            server.start_operation(2, sub_status="Reading tasks"): "import",
            server.start_operation(3, progress="steps"): "export",
        }
        async with SchedulesSession(server.token, base_url=server.url) as session:
            progress = RichProgress(names=names, session=session)
            operations = await progress.track(session.wait_for_operations(names, timeout=60))
            print(f"{len(operations)} operations succeeded")


asyncio.run(main())
