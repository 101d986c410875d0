"""Test your own code that waits, with a real HTTP server and a clock that skips all waiting."""

import asyncio

from schedules_async import Operation, SchedulesSession
from schedules_async.testing import FakeClock, FakeSchedules, fault, operation_answer, throttled


async def clone_schedule(session: SchedulesSession, schedule_id: str, operation_id: str) -> Operation:
    """Stand in for the code under test."""
    return await session.wait_for_operation(schedule_id, operation_id, timeout=3600)


async def clone_despite_faults() -> None:
    clock = FakeClock()
    async with FakeSchedules(clock=clock) as server:
        ref = server.script_operation(
            operation_answer("Queued"), throttled(retry_after=600), fault(503), operation_answer("Succeeded")
        )
        async with server.session() as session:  # with the URL, token and clock of the server
            assert (await clone_schedule(session, *ref)).is_succeeded
        assert clock.monotonic() >= 600  # ten minutes of virtual time
        assert len(server.requests) == 4


def test_clone_succeeds_despite_throttling_and_faults() -> None:
    asyncio.run(clone_despite_faults())
