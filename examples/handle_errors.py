"""Tell apart what can go wrong."""

import asyncio

from schedules_async import (
    OperationFailedError,
    OperationTimeoutError,
    ResponseError,
    SchedulesError,
    SchedulesSession,
)
from schedules_async.testing import FakeSchedules


async def follow(session: SchedulesSession, schedule_id: str, operation_id: str) -> str:
    try:
        operation = await session.wait_for_operation(schedule_id, operation_id, timeout=2)
    except OperationFailedError as error:  # the operation itself; HTTP was fine
        return f"failed: {error.operation and error.operation.failure_description}"
    except OperationTimeoutError as error:  # the wait; the operation goes on
        return f"still at {error.operation.percent_complete:.0f} %" if error.operation else "not seen"
    except ResponseError as error:  # the service: 401, 403, 404, 429, 5xx have classes of their own
        return f"HTTP {error.status} {error.code}"  # error.correlation_id is what support asks for
    except SchedulesError as error:  # the network, or an answer that breaks the contract
        return f"{type(error).__name__}: {error}"
    return f"succeeded at {operation.updated_at}"


async def main() -> None:
    async with FakeSchedules() as server, SchedulesSession(server.token, base_url=server.url) as session:
        failing = server.start_operation(duration=1, fails_with="The disk is full.")
        for ref in (server.start_operation(duration=1), failing, server.start_operation(duration=3600)):
            print(await follow(session, *ref))
        print(await follow(session, "no-such-schedule", "no-such-operation"))


asyncio.run(main())
