"""Test code of your own that waits: a real HTTP server, and a clock that does not let you wait."""

import asyncio

from schedules_async import Operation, SchedulesSession
from schedules_async.testing import FakeClock, FakeSchedules, fault, operation_answer, throttled


async def clone_schedule(session: SchedulesSession, schedule_id: str, operation_id: str) -> Operation:
    """Stand for the code under test."""
    return await session.wait_for_operation(schedule_id, operation_id, timeout=3600)


async def live_through_a_bad_day() -> None:
    clock = FakeClock()
    async with FakeSchedules(clock=clock) as server:
        ref = server.script_operation(
            operation_answer("Queued"), throttled(retry_after=600), fault(503), operation_answer("Succeeded")
        )
        async with server.session() as session:  # with the server's url, token and clock
            assert (await clone_schedule(session, *ref)).is_succeeded
        assert clock.monotonic() >= 600  # ten minutes, in no time
        assert len(server.requests) == 4


def test_a_bad_day() -> None:
    asyncio.run(live_through_a_bad_day())
