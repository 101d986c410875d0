"""Observe a session through its log and a hook of your own."""

import asyncio
import logging
import sys
from collections import Counter

from schedules_async import SchedulesSession
from schedules_async.events import Event, Throttled, WaitEnded
from schedules_async.testing import FakeSchedules

counts: Counter[str] = Counter()


def count(event: Event) -> None:  # called by the event loop: must be fast and must not be async
    counts[type(event).__name__] += 1
    match event:
        case Throttled(was_open=True):
            print(f"Throttled for {event.closed_for:.0f} s.")
        case WaitEnded(seconds=seconds, polls=polls):
            print(f"The wait took {seconds:.0f} s and {polls} polls.")
        case _:
            pass


async def main() -> None:
    async with FakeSchedules() as server:
        ref = server.start_operation(duration=3)
        server.refuse()  # the next request is answered with 429
        async with SchedulesSession(server.token, base_url=server.url, hooks=[count]) as session:
            await session.wait_for_operation(*ref)
    print(counts)


logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", stream=sys.stdout)
logging.getLogger("schedules_async").setLevel(logging.DEBUG)  # polls are logged at DEBUG only
asyncio.run(main())
