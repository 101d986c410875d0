"""Provide tokens from your own code."""

import asyncio

from schedules_async import SchedulesSession
from schedules_async.testing import FakeSchedules


class Vault:
    """A token provider, called before every request; `rejected` is the token that just met a 401, if any."""

    def __init__(self, *tokens: str) -> None:
        self.tokens = list(tokens)

    async def get_token(self, *, rejected: str | None = None) -> str:
        if rejected == self.tokens[0]:
            self.tokens.pop(0)
        return self.tokens[0]


async def main() -> None:
    async with FakeSchedules(token="fresh") as server:
        ref = server.start_operation(duration=1)
        async with SchedulesSession(Vault("expired", "fresh"), base_url=server.url) as session:
            operation = await session.wait_for_operation(*ref)
            print(f"{operation.status}, HTTP statuses: {[request.status for request in server.requests]}")


asyncio.run(main())
