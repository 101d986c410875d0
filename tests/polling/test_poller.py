"""Pollers: the shared polling of one operation, and what it measures."""

import asyncio
from typing import Any

import pytest
from event_loops import turns
from sessions import MakeSession

from schedules_async import Operation, PollingPolicy, SchedulesSession
from schedules_async._waiters.single_fetch import SingleFetch
from schedules_async.testing import FakeClock, FakeSchedules, fault, operation_answer

DONE = operation_answer("Succeeded")


def started(percent: float, **options: Any) -> Any:
    return operation_answer("Started", percent_complete=percent, **options)


async def test_detection_delay_is_measured(session: SchedulesSession, server: FakeSchedules) -> None:
    await session.wait_for_operation(*server.start_operation(duration=2.5))
    delay = session.stats.detection_delay
    assert delay.count == 1
    assert delay.mean == delay.max == pytest.approx(0.5, abs=0.51)  # Date counts whole seconds


async def test_operation_ended_before_measures_no_detection_delay(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    ref = server.start_operation(duration=1)
    await clock.sleep(1000)
    await session.wait_for_operation(*ref)
    assert session.stats.detection_delay.count == 0


async def test_end_while_nobody_polled_measures_no_detection_delay(
    make_session: MakeSession, server: FakeSchedules, clock: FakeClock
) -> None:
    """Neither before a waiter is used again, nor before its checkpoint is resumed."""
    session = make_session()
    waiter = session.wait_for_operation(*server.start_operation(duration=30))
    async for _ in waiter:
        break
    await clock.sleep(3600)
    resuming = make_session()
    await resuming.resume(waiter.checkpoint())
    await waiter
    assert (session.stats.detection_delay.count, resuming.stats.detection_delay.count) == (0, 0)


async def test_two_operations_are_polled_separately(session: SchedulesSession, server: FakeSchedules) -> None:
    refs = [server.script_operation(started(10), DONE) for _ in range(2)]
    results: list[Operation] = await asyncio.gather(*(session.wait_for_operation(*ref) for ref in refs))
    assert [operation.ref for operation in results] == refs
    assert len(server.requests) == 4


async def test_default_policy_polls_near_expected_end(
    make_session: MakeSession, server: FakeSchedules, clock: FakeClock
) -> None:
    """The end of an hour of steady progress is detected within seconds, for fewer polls than one every 20 s."""
    session = make_session(polling=PollingPolicy())
    await session.wait_for_operation(*server.start_operation(duration=3600, queued=5))
    assert 3605 <= clock.monotonic() <= 3610
    assert len(server.requests) < 180


async def test_many_waits_of_one_operation_share_polls(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    """They leave one after another, in another order than they came; nothing is left of them."""
    ref = server.script_operation(started(10))
    waits = [asyncio.create_task(session.wait_for_operation(*ref, timeout=1.5 + number % 7)) for number in range(50)]
    results = await asyncio.gather(*waits, return_exceptions=True)
    assert all(isinstance(result, TimeoutError) for result in results)
    assert len(server.requests) == 8
    await turns(2)
    assert clock.sleeping == 0


class Failing(SingleFetch):
    """Fails when it is notified, as no subscriber should."""

    def conclude(self, operation: Operation, _: float) -> None:
        raise LookupError(f"a defect at {operation.status}")


async def test_subscriber_that_fails_leaves_nobody_waiting(session: SchedulesSession, server: FakeSchedules) -> None:
    ref = server.script_operation(DONE)
    fetch = Failing()
    session._enter().join(ref, fetch)
    call = asyncio.create_task(session.get_operation(*ref))
    with pytest.raises(LookupError, match="a defect"):
        await fetch.result()
    with pytest.raises(LookupError, match="a defect"):
        await call


async def test_call_is_not_delayed_by_an_earlier_retry_after(
    make_session: MakeSession, server: FakeSchedules, clock: FakeClock
) -> None:
    """Its task is cancelled from outside, just before an outage of others ends."""
    session = make_session()
    ref = server.script_operation(fault(500, retry_after=600), operation_answer("Succeeded", delay=1), DONE)
    wait = asyncio.create_task(session.wait_for_operation(*ref))
    await clock.sleep(10)
    pool = session._enter()
    pool.random = lambda: 0.99
    for _ in range(4):
        pool.queue.limiter.fault()
    call = asyncio.create_task(session.get_operation(*ref))
    await clock.sleep(0.5)
    (task,) = [task for task in asyncio.all_tasks() if "Poller._poll" in repr(task.get_coro())]
    task.cancel()
    await clock.sleep(0.01)
    await session.get_operation(*server.script_operation(DONE))
    assert (await call).is_succeeded
    assert clock.monotonic() < 20
    await wait
