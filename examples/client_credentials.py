"""Obtain and renew tokens with the client credentials of a service application."""

import asyncio

from schedules_async import ClientCredentials, SchedulesSession
from schedules_async.testing import FakeSchedules


async def main() -> None:
    async with FakeSchedules(token_life=2) as server:  # replaces the service and its identity server
        credentials = ClientCredentials("test-client", "test-secret", token_url=server.token_url)

        ref = server.start_operation(duration=3)
        async with SchedulesSession(credentials, base_url=server.url) as session:
            operation = await session.wait_for_operation(*ref)
            print(f"{operation.status}, token requests: {len(server.token_requests)}")


asyncio.run(main())
