"""Wait in production: the environment configures service and credentials, timeouts bound the wait, the log reports it.

    python examples/in_production.py SCHEDULE_ID/OPERATION_ID ...

It reads SCHEDULES_BASE_URL (production is https://api.bentley.com), and SCHEDULES_CLIENT_ID and
SCHEDULES_CLIENT_SECRET, or SCHEDULES_TOKEN. Without operations it starts some on an embedded server.
"""

import asyncio
import logging
import os
import sys
from datetime import timedelta

from schedules_async import STANDARD_TIER, OperationGroupError, SchedulesSession
from schedules_async.testing import FakeSchedules

log = logging.getLogger("an_application")


async def wait_for_all(operations: list[str]) -> None:
    """Wait for operations, each `SCHEDULE_ID/OPERATION_ID` or a URL, and log those that did not succeed."""
    async with SchedulesSession.from_env(rate_limits=STANDARD_TIER) as session:
        wait = session.wait_for_operations(operations, timeout=timedelta(hours=6), stall_timeout=timedelta(hours=1))
        try:
            await wait
        except OperationGroupError as error:
            for ref, reason in error.errors.items():
                log.warning("%s: %s", type(reason).__name__, reason, extra={"operation": ref})


async def use_embedded_server() -> None:
    async with FakeSchedules() as server:
        os.environ.update(SCHEDULES_BASE_URL=server.url, SCHEDULES_TOKEN=server.token)
        refs = [server.start_operation(duration=1), server.start_operation(duration=2, fails_with="The disk is full.")]
        await wait_for_all([str(ref) for ref in refs])


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stdout)
    asyncio.run(wait_for_all(sys.argv[1:]) if len(sys.argv) > 1 else use_embedded_server())
