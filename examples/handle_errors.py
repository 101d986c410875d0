"""Distinguish the errors of a wait."""

import asyncio

from schedules_async import (
    OperationFailedError,
    OperationTimeoutError,
    ResponseError,
    SchedulesError,
    SchedulesSession,
)
from schedules_async.testing import FakeSchedules


async def outcome_of(session: SchedulesSession, schedule_id: str, operation_id: str) -> str:
    try:
        operation = await session.wait_for_operation(schedule_id, operation_id, timeout=2)
    except OperationFailedError as error:  # the operation failed; the requests succeeded
        return f"failed: {error.operation and error.operation.failure_description}"
    except OperationTimeoutError as error:  # the wait timed out; the operation continues
        return f"still at {error.operation.percent_complete:.0f} %" if error.operation else "no answer"
    except ResponseError as error:  # an HTTP error; 401, 403, 404, 429 and 5xx have subclasses
        return f"HTTP {error.status} {error.code}"  # support will ask for error.correlation_id
    except SchedulesError as error:  # a network error or an invalid response
        return f"{type(error).__name__}: {error}"
    return f"succeeded at {operation.updated_at}"


async def main() -> None:
    async with FakeSchedules() as server, SchedulesSession(server.token, base_url=server.url) as session:
        failing = server.start_operation(duration=1, fails_with="The disk is full.")
        for ref in (server.start_operation(duration=1), failing, server.start_operation(duration=3600)):
            print(await outcome_of(session, *ref))
        print(await outcome_of(session, "no-such-schedule", "no-such-operation"))


asyncio.run(main())
