"""The waiter: every way to use it, its deadlines, and what it leaves behind."""

import asyncio
import contextlib
import copy
import gc
import math
import pickle
import sys
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from datetime import timedelta
from typing import Any

import pytest
from attrs import evolve, field, frozen
from event_loops import HastyLoop, turns
from sessions import EVERY_SECOND, MakeSession

from schedules_async import (
    MalformedResponseError,
    NotFoundError,
    Operation,
    OperationFailedError,
    OperationRef,
    OperationStalledError,
    OperationTimeoutError,
    OperationWaiter,
    PollingPolicy,
    RateLimit,
    RateLimitedError,
    ResponseError,
    RetryPolicy,
    SchedulesError,
    SchedulesSession,
    ServerError,
    SessionClosedError,
    TransportError,
    WaitError,
)
from schedules_async._polling.forecast import Progress
from schedules_async._waiters.waiter import ChangeIterator
from schedules_async.testing import (
    Answer,
    FakeClock,
    FakeSchedules,
    cut_body,
    fault,
    not_modified,
    operation_answer,
    reset,
    stall,
    throttled,
)

DONE = operation_answer("Succeeded")
LAZY = PollingPolicy(cost=10_000, max_interval=100)


def started(percent: float, etag: str | None = None) -> Any:
    return operation_answer("Started", percent_complete=percent, etag=etag)


async def percents(changes: AsyncIterator[Operation]) -> list[float]:
    return [operation.percent_complete async for operation in changes]


async def in_task_group(waiter: OperationWaiter) -> Operation:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(waiter)
    return task.result()


async def awaited(waiter: OperationWaiter) -> Operation:
    return await waiter


async def gathered(waiter: OperationWaiter) -> Operation:
    results = await asyncio.gather(waiter, asyncio.sleep(0))
    return results[0]


async def last_of_iteration(waiter: OperationWaiter) -> Operation:
    return [operation async for operation in waiter][-1]


FORMS: dict[str, Callable[[OperationWaiter], Awaitable[Operation]]] = {
    "await": awaited,
    "create_task": asyncio.create_task,
    "ensure_future": asyncio.ensure_future,
    "TaskGroup": in_task_group,
    "gather": gathered,
    "wait_for": lambda waiter: asyncio.wait_for(waiter, 60),
    "shield": asyncio.shield,
    "async for": last_of_iteration,
}


@pytest.mark.parametrize("form", FORMS)
async def test_waiter_can_be_used_in_every_form(session: SchedulesSession, server: FakeSchedules, form: str) -> None:
    ref = server.script_operation(started(10), DONE)
    waiter = session.wait_for_operation(*ref)
    operation = await FORMS[form](waiter)
    assert operation.is_succeeded
    assert await waiter is operation
    assert len(server.requests) == 2


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
async def test_waiter_runs_in_an_eager_task(session: SchedulesSession, server: FakeSchedules) -> None:
    factory = getattr(asyncio, "eager_task_factory", None)
    asyncio.get_running_loop().set_task_factory(factory)
    ref = server.script_operation(started(10), fault(), DONE)
    tasks = [asyncio.create_task(session.wait_for_operation(*ref)) for _ in range(3)]
    assert {operation.status for operation in await asyncio.gather(*tasks)} == {"Succeeded"}
    assert len(server.requests) == 3


async def test_waiter_runs_in_several_tasks(session: SchedulesSession, server: FakeSchedules) -> None:
    waiter = session.wait_for_operation(*server.script_operation(started(10), DONE))
    first, second = asyncio.create_task(waiter), asyncio.create_task(waiter)
    await turns(3)
    first.cancel()
    assert (await second).is_succeeded
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_iterations_of_one_waiter_are_independent(session: SchedulesSession, server: FakeSchedules) -> None:
    waiter = session.wait_for_operation(*server.script_operation(started(10), started(20), DONE))
    both = await asyncio.gather(percents(aiter(waiter)), percents(aiter(waiter)))
    assert list(both) == [[10.0, 20.0, 100.0], [10.0, 20.0, 100.0]]
    assert len(server.requests) == 3


async def test_iteration_after_the_end_yields_the_final_snapshot(
    session: SchedulesSession, server: FakeSchedules
) -> None:
    waiter = session.wait_for_operation(*server.script_operation(started(10), DONE))
    await waiter
    assert await percents(aiter(waiter)) == [100]
    assert len(server.requests) == 2


async def test_unused_waiter_warns_and_sends_nothing(session: SchedulesSession, server: FakeSchedules) -> None:
    with pytest.warns(RuntimeWarning, match="<OperationWaiter schedule/operation .* was never awaited"):
        repr(session.wait_for_operation("schedule", "operation"))
    with pytest.warns(RuntimeWarning, match="<OperationGroupWaiter .* was never awaited"):
        repr(session.wait_for_operations([("schedule", "operation")]))
    assert server.requests == []


USES: dict[str, Callable[[OperationWaiter], object]] = {
    "iterated over": aiter,
    "closed": OperationWaiter.close,
    "tracked": lambda waiter: waiter.members,
    "driven by hand": lambda waiter: waiter.send(None),
}


@pytest.mark.parametrize("use", USES)
async def test_used_waiter_is_dropped_without_a_warning(session: SchedulesSession, use: str) -> None:
    waiter = session.wait_for_operation("schedule", "operation")
    USES[use](waiter)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del waiter
        gc.collect()


async def test_unchanged_answer_is_silent_and_returns_the_object(
    session: SchedulesSession, server: FakeSchedules
) -> None:
    """The first five polls carry no tag, then E1 three times, then E2."""
    ref = server.script_operation(
        started(10, '"E1"'), not_modified(), not_modified(), started(40, '"E2"'), operation_answer("Succeeded")
    )
    waiter = session.wait_for_operation(*ref)
    yielded = []
    async for operation in waiter:
        yielded.append(operation)
        if operation.percent_complete == 10:
            first, again = operation, await session.get_operation(*ref)
            assert again is first
    assert [operation.percent_complete for operation in yielded] == [10, 40, 100]
    assert [request.if_none_match for request in server.requests] == [None, '"E1"', '"E1"', '"E1"', '"E2"']
    assert (session.stats.requests, session.stats.not_modified, session.stats.updates) == (5, 2, 3)


async def test_equal_answer_with_another_tag_is_silent(session: SchedulesSession, server: FakeSchedules) -> None:
    ref = server.script_operation(started(10, '"E1"'), started(10, '"E2"'), DONE)
    assert await percents(aiter(session.wait_for_operation(*ref))) == [10, 100]
    assert [request.if_none_match for request in server.requests] == [None, '"E1"', '"E2"']


async def test_held_snapshot_lends_its_tag(session: SchedulesSession, server: FakeSchedules) -> None:
    ref = server.script_operation(started(10, '"E1"'), not_modified('"E1"'), DONE)
    held = await session.get_operation(*ref)
    yielded = [operation async for operation in session.wait_for_operation(*ref)]
    assert yielded[0] is held
    assert [operation.percent_complete for operation in yielded] == [10, 100]


@pytest.mark.parametrize("leaver", range(5))
async def test_waits_for_one_operation_share_its_requests(
    session: SchedulesSession, server: FakeSchedules, leaver: int
) -> None:
    """Cancelling any of them, the first included, changes nothing for the rest."""
    ref = server.script_operation(started(10), started(20), DONE)
    tasks = [asyncio.create_task(session.wait_for_operation(*ref)) for _ in range(5)]
    await turns(2 + leaver)
    tasks[leaver].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results.pop(leaver), asyncio.CancelledError)
    assert all(isinstance(result, Operation) and result.is_succeeded for result in results)
    assert len(server.requests) == 3


async def test_polling_ends_with_the_last_wait(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    ref = server.script_operation(started(10))
    tasks = [asyncio.create_task(session.wait_for_operation(*ref)) for _ in range(2)]
    async for _ in session.wait_for_operation(*ref):
        break
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await turns(2)
    assert clock.sleeping == 0
    count = len(server.requests)
    await clock.sleep(100)
    assert len(server.requests) == count
    assert clock.sleeping == 0


async def test_break_stops_the_polling(session: SchedulesSession, server: FakeSchedules, clock: FakeClock) -> None:
    """Nothing polls on, though the waiter is still held."""
    waiter = session.wait_for_operation(*server.script_operation(started(10), started(20)))
    async for _ in waiter:
        break
    await clock.sleep(50)
    assert len(server.requests) == 1
    assert waiter.latest is not None


async def test_late_joiner_starts_from_the_newest_snapshot(session: SchedulesSession, server: FakeSchedules) -> None:
    ref = server.script_operation(started(10), started(20), DONE)
    async for operation in session.wait_for_operation(*ref):
        if operation.percent_complete == 20:
            break_in = aiter(session.wait_for_operation(*ref))
            assert await anext(break_in) is operation
            assert len(server.requests) == 2
    assert await percents(break_in) == [100]
    assert len(server.requests) == 3


async def test_slow_iteration_gets_the_newest_snapshot(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    ref = server.script_operation(*(started(percent) for percent in range(10, 60, 10)), DONE)
    yielded = []
    async for operation in session.wait_for_operation(*ref):
        yielded.append(operation.percent_complete)
        if operation.percent_complete == 10:
            await clock.sleep(3.5)
    assert yielded == [10, 40, 50, 100]


async def test_late_iteration_gets_the_final_snapshot_once(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    yielded = []
    async for operation in session.wait_for_operation(*server.script_operation(started(10), started(20), DONE)):
        yielded.append(operation.percent_complete)
        await clock.sleep(60)
    assert yielded == [10, 100]


async def test_cancelled_anext_loses_nothing(session: SchedulesSession, server: FakeSchedules) -> None:
    changes = aiter(session.wait_for_operation(*server.script_operation(started(10), started(20), DONE)))
    yielded = [(await anext(changes)).percent_complete]
    pending = asyncio.ensure_future(anext(changes))
    await turns(3)
    pending.cancel()
    await asyncio.wait({pending})
    yielded += await percents(changes)
    assert yielded in ([10, 20, 100], [10, 100])
    with pytest.raises(StopAsyncIteration):
        await anext(changes)


async def test_failed_operation_raises_in_both_forms(session: SchedulesSession, server: FakeSchedules) -> None:
    """An iteration yields the failed snapshot first; each use raises an exception of its own."""
    ref = server.script_operation(
        started(10), operation_answer("Failed", percent_complete=100, failure_description="disk full")
    )
    waiter = session.wait_for_operation(*ref)
    changes = aiter(waiter)
    yielded = [(await anext(changes)).percent_complete, (await anext(changes)).percent_complete]
    with pytest.raises(OperationFailedError, match="disk full") as iterated:
        await anext(changes)
    with pytest.raises(OperationFailedError) as awaited_again:
        await waiter
    assert yielded == [10, 100]
    assert iterated.value is not awaited_again.value
    assert iterated.value.ref == ref
    assert iterated.value.operation is waiter.latest


async def test_failed_snapshot_is_returned_without_check(session: SchedulesSession, server: FakeSchedules) -> None:
    ref = server.script_operation(operation_answer("Failed"))
    waiter = session.wait_for_operation(*ref, check=False)
    assert (await waiter).is_failed
    assert [operation.is_failed async for operation in waiter] == [True]


async def test_timeout_ends_the_wait_with_the_snapshot(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    waiter = session.wait_for_operation(*server.script_operation(started(10)), timeout=timedelta(seconds=3.5))
    with pytest.raises(TimeoutError) as caught:
        await waiter
    assert isinstance(caught.value, OperationTimeoutError)
    assert caught.value.operation is not None
    assert caught.value.operation.percent_complete == 10
    assert clock.monotonic() == 3.5
    assert len(server.requests) == 4
    assert clock.sleeping == 0


async def test_timeout_counts_from_the_first_use(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    waiter = session.wait_for_operation(*server.script_operation(started(10)), timeout=5)
    await clock.sleep(100)
    changes = aiter(waiter)
    await anext(changes)
    await clock.sleep(3)
    with pytest.raises(OperationTimeoutError):
        await waiter
    assert clock.monotonic() == 105
    with pytest.raises(OperationTimeoutError):
        await anext(changes)


async def test_timeout_ends_a_hanging_request(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    with pytest.raises(OperationTimeoutError) as caught:
        await session.wait_for_operation(*server.script_operation(stall()), timeout=7)
    assert caught.value.operation is None
    assert clock.monotonic() == 7


async def test_first_poll_leaves_with_any_timeout(session: SchedulesSession, server: FakeSchedules) -> None:
    """On a connection that is open, the request reaches the service."""
    ref = server.script_operation(DONE)
    await session.get_operation(*ref)
    with pytest.raises(OperationTimeoutError):
        await session.wait_for_operation(*ref, timeout=0)
    assert session.stats.requests == 2


async def test_wait_has_its_own_timeout(session: SchedulesSession, server: FakeSchedules) -> None:
    ref = server.script_operation(*[started(10)] * 5, DONE)
    short, long = session.wait_for_operation(*ref, timeout=2.5), session.wait_for_operation(*ref, timeout=60)
    results = await asyncio.gather(short, long, return_exceptions=True)
    assert isinstance(results[0], OperationTimeoutError)
    assert isinstance(results[1], Operation)
    assert len(server.requests) == 6


async def test_stall_counts_from_the_newest_change(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    ref = server.script_operation(started(10), started(10), started(20), started(20))
    with pytest.raises(OperationStalledError) as caught:
        await session.wait_for_operation(*ref, stall_timeout=5, timeout=100)
    assert clock.monotonic() == 7
    assert caught.value.operation is not None
    assert caught.value.operation.percent_complete == 20


async def test_ended_wait_leaves_no_timer(session: SchedulesSession, server: FakeSchedules, clock: FakeClock) -> None:
    await session.wait_for_operation(*server.script_operation(started(10), DONE), stall_timeout=50, timeout=100)
    await turns(5)
    assert clock.sleeping == 0


async def test_operation_that_never_answers_is_no_stall(session: SchedulesSession, server: FakeSchedules) -> None:
    """Not having polled says nothing of the operation; the timeout ends such a wait."""
    with pytest.raises(OperationTimeoutError) as caught:
        await session.wait_for_operation(*server.script_operation(stall()), stall_timeout=5, timeout=60)
    assert caught.value.operation is None


async def test_first_answer_is_no_stall_however_late(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    """Only the poll after it can find that nothing changed; it comes as soon as the stall may be declared."""
    first = operation_answer("Started", percent_complete=10, delay=20)
    with pytest.raises(OperationStalledError) as caught:
        await session.wait_for_operation(*server.script_operation(first, started(10)), stall_timeout=5, polling=LAZY)
    assert caught.value.operation is not None
    assert (clock.monotonic(), len(server.requests)) == (25, 2)


async def test_operation_that_keeps_changing_never_stalls(make_session: MakeSession, server: FakeSchedules) -> None:
    """Though the policy polls less often than the stall timeout."""
    for stall_timeout, duration in ((30, 1200), (10, 300)):
        session = make_session(polling=PollingPolicy())
        wait = session.wait_for_operation(*server.start_operation(duration=duration), stall_timeout=stall_timeout)
        assert (await wait).is_succeeded


async def test_stall_is_found_by_a_poll_in_time(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    """Also where the policy's next poll is due much later."""
    ref = server.script_operation(started(10), started(10))
    with pytest.raises(OperationStalledError):
        await session.wait_for_operation(*ref, stall_timeout=7, polling=LAZY)
    assert [request.time for request in server.requests] == [0, 7]
    assert clock.monotonic() == 7


async def test_time_behind_a_closed_gate_is_no_stall(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    ref = server.script_operation(started(10), throttled(60), started(10))
    with pytest.raises(OperationStalledError):
        await session.wait_for_operation(*ref, stall_timeout=5)
    assert clock.monotonic() == 65


async def test_gate_closed_without_a_consumer_delays_a_stall_once(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    """By the time without a consumer, of which the time of the gate is a part."""
    waiter = session.wait_for_operation(*server.script_operation(started(10), started(10)), stall_timeout=5)
    async for _ in waiter:
        break
    await turns(3)
    await session.get_operation(*server.script_operation(throttled(60), DONE))
    with pytest.raises(OperationStalledError):
        await waiter
    assert 65 <= clock.monotonic() < 67


@pytest.mark.parametrize("is_other_left", [False, True])
async def test_change_found_without_a_consumer_is_no_stall(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock, *, is_other_left: bool
) -> None:
    """Another wait, which may be over, has found it while this one had no consumer."""
    ref = server.script_operation(*[started(10)] * 40, started(20))
    other = asyncio.create_task(session.wait_for_operation(*ref))
    waiter = session.wait_for_operation(*ref, stall_timeout=20)
    changes = aiter(waiter)
    await anext(changes)
    await clock.sleep(16)
    await changes.aclose()
    await clock.sleep(30)
    if is_other_left:
        other.cancel()
        await turns(3)
    began = clock.monotonic()
    with pytest.raises(OperationStalledError):
        await waiter
    assert clock.monotonic() - began >= 19
    other.cancel()


async def test_timeout_behind_the_gate_sends_no_request(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    with pytest.raises(OperationTimeoutError):
        await session.wait_for_operation(*server.script_operation(throttled(60)), timeout=10)
    assert clock.monotonic() == 10
    await clock.sleep(100)
    assert len(server.requests) == 1


async def test_not_found_within_grace_is_polled_again(
    make_session: MakeSession, server: FakeSchedules, clock: FakeClock
) -> None:
    """Each wait has its own grace; the one without ends at the first 404."""
    ref = OperationRef("schedule", "operation")
    patient = PollingPolicy(not_found_grace=30)
    session = make_session(polling=patient)
    impatient = session.wait_for_operation(*ref, polling=EVERY_SECOND)
    waiting = asyncio.create_task(session.wait_for_operation(*ref))
    with pytest.raises(NotFoundError):
        await impatient
    await clock.sleep(5)
    server.script_operation(started(10), DONE, schedule_id=ref.schedule_id, operation_id=ref.operation_id)
    assert (await waiting).is_succeeded


async def test_not_found_after_grace_is_raised(make_session: MakeSession, clock: FakeClock) -> None:
    session = make_session(polling=PollingPolicy(not_found_grace=10))
    with pytest.raises(NotFoundError):
        await session.wait_for_operation("schedule", "operation")
    assert 10 <= clock.monotonic() <= 12


async def test_earliest_poll_of_different_policies_counts(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    ref = server.script_operation(*[started(10)] * 5, DONE)
    slow = session.wait_for_operation(*ref, polling=PollingPolicy.fixed(100))
    fast = session.wait_for_operation(*ref, polling=PollingPolicy.fixed(2))
    await asyncio.gather(slow, fast)
    assert clock.monotonic() == 10


async def test_policy_of_the_remaining_wait_counts(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    ref = server.script_operation(started(10))
    slow = asyncio.create_task(session.wait_for_operation(*ref, polling=PollingPolicy.fixed(50)))
    with pytest.raises(OperationTimeoutError):
        await session.wait_for_operation(*ref, timeout=4.5)
    assert len(server.requests) == 5
    await clock.sleep(40)
    assert len(server.requests) == 5
    slow.cancel()


async def test_faults_below_the_attempts_are_survived(session: SchedulesSession, server: FakeSchedules) -> None:
    faults = [cut_body(), fault(500), fault(502), fault(503)]
    ref = server.script_operation(*faults, started(10), *faults, DONE)
    assert (await session.wait_for_operation(*ref)).is_succeeded
    assert session.stats.retried == 8
    assert len(server.requests) == 10


FAULTS: dict[str, tuple[Answer, type[SchedulesError], int | None]] = {
    "reset": (reset(), TransportError, None),
    "timeout": (stall(), TransportError, None),
    "cut body": (cut_body(), TransportError, None),
    "408": (fault(408), ResponseError, 408),
    "500": (fault(500), ServerError, 500),
    "502": (fault(502), ServerError, 502),
    "503": (fault(503), ServerError, 503),
    "504": (fault(504), ServerError, 504),
}


async def time_out(numbers: Iterable[int], server: FakeSchedules, loop: HastyLoop) -> None:
    """Move the time of the event loop on by a minute when these requests have arrived, which are not answered."""
    for number in numbers:
        while len(server.requests) < number:
            await turns(1)
        loop.ahead += 60


async def raise_last_fault(loop: HastyLoop, kind: str) -> None:
    answer, error, status = FAULTS[kind]
    stale = [reset()] * (kind == "reset")
    survived, fatal = [*stale, *[answer] * 4], [*stale, *[answer] * 5]
    async with FakeSchedules(clock=FakeClock()) as server:
        stalled = (2, 3, 4, 5, 7, 8, 9, 10, 11) if kind == "timeout" else ()
        hurry = asyncio.create_task(time_out(stalled, server, loop))
        async with server.session(polling=EVERY_SECOND, retry=RetryPolicy(attempts=5, max_outage=0)) as session:
            ref = server.script_operation(started(10), *survived, started(20), *fatal, DONE)
            changes = aiter(session.wait_for_operation(*ref))
            assert [(await anext(changes)).percent_complete for _ in range(2)] == [10, 20]
            with pytest.raises(error) as caught:
                await anext(changes)
        await hurry
    assert caught.value.ref == ref
    assert getattr(caught.value, "status", None) == status
    assert len(server.requests) == 11 + 2 * len(stale)


@pytest.mark.parametrize("kind", FAULTS)
def test_last_attempt_raises_each_kind_of_fault(kind: str) -> None:
    """A reset of a connection that was kept alive is none, so that there is one more of them each time."""
    loop = HastyLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(raise_last_fault(loop, kind))


async def test_outage_is_survived_for_as_long_as_allowed(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    """Five minutes by default, however many attempts that are; it counts from its first fault."""
    ref = server.script_operation(*[started(10)] * 100, fault(502))
    with pytest.raises(ServerError):
        await session.wait_for_operation(*ref)
    assert 400 <= clock.monotonic() < 400 + 2 * RetryPolicy().max_pause
    assert len(server.requests) > 100 + RetryPolicy().attempts


async def test_outage_ends_with_any_answer(session: SchedulesSession, server: FakeSchedules) -> None:
    """A 404 within its grace or an unchanged snapshot too: the next fault begins another outage."""
    faults = [fault(503)] * 15
    ref = server.script_operation(started(10, '"a"'), *faults, not_modified(), *faults, not_modified(), *faults, DONE)
    assert (await session.wait_for_operation(*ref)).is_succeeded
    assert session.stats.retried == 45


async def test_endless_outage_is_bounded_by_the_timeout(
    make_session: MakeSession, server: FakeSchedules, clock: FakeClock
) -> None:
    session = make_session(retry=RetryPolicy(max_outage=math.inf))
    with pytest.raises(OperationTimeoutError, match="last problem: 503 Service Unavailable") as caught:
        await session.wait_for_operation(*server.script_operation(fault(503)), timeout=1000)
    assert isinstance(caught.value.__cause__, ServerError)
    assert clock.monotonic() == 1000


async def test_timeout_behind_the_gate_names_the_429(session: SchedulesSession, server: FakeSchedules) -> None:
    with pytest.raises(OperationTimeoutError, match=r"last problem: 429 .* Retry-After: 60 s") as caught:
        await session.wait_for_operation(*server.script_operation(throttled(60)), timeout=10)
    assert isinstance(caught.value.__cause__, RateLimitedError)


async def test_timeout_of_joiner_in_backoff_names_fault(make_session: MakeSession, server: FakeSchedules) -> None:
    """The fault was met before it joined."""
    ref = server.script_operation(fault(502, retry_after=60), DONE)
    async with make_session() as session, asyncio.TaskGroup() as tasks:
        tasks.create_task(session.wait_for_operation(*ref))
        await server.clock.sleep(10)
        with pytest.raises(OperationTimeoutError, match="last problem: 502 Bad Gateway") as caught:
            await session.wait_for_operation(*ref, timeout=10)
    assert isinstance(caught.value.__cause__, ServerError)


async def test_joiner_gets_fault_with_too_long_retry_after(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    """It does not sleep through what it would not accept; who does accept it goes on."""
    ref = server.script_operation(fault(502, retry_after=600), DONE)
    patient = asyncio.ensure_future(session.wait_for_operation(*ref))
    await clock.sleep(10)
    with pytest.raises(ServerError, match="502 Bad Gateway Retry-After: 600 s"):
        await session.wait_for_operation(*ref, polling=PollingPolicy(max_retry_after=300))
    assert clock.monotonic() == 10
    assert (await session.wait_for_operation(*ref, polling=PollingPolicy(max_retry_after=590))).is_succeeded
    assert (await patient).is_succeeded


async def test_problem_of_another_operation_has_ref_of_wait(session: SchedulesSession, server: FakeSchedules) -> None:
    other, ref = server.script_operation(throttled(60)), server.start_operation(duration=600)
    behind = asyncio.ensure_future(session.wait_for_operation(*other))
    with pytest.raises(OperationTimeoutError, match="last problem: 429") as caught:
        await session.wait_for_operation(*ref, timeout=30)
    assert isinstance(caught.value.__cause__, RateLimitedError)
    assert caught.value.__cause__.ref == ref
    behind.cancel()


async def test_problem_before_a_wait_was_left_is_forgotten(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    """Another wait's polls have succeeded since."""
    ref = server.script_operation(fault(500), operation_answer("Started"))
    left, other = session.wait_for_operation(*ref, timeout=60), session.wait_for_operation(*ref, timeout=60)
    first, second = asyncio.ensure_future(left), asyncio.ensure_future(other)
    for _ in iter(lambda: session.stats.retried, 1):
        await asyncio.sleep(0)
    first.cancel()
    await clock.sleep(30)
    assert other.latest is not None
    with pytest.raises(OperationTimeoutError) as caught:
        await left
    assert caught.value.__cause__ is None
    second.cancel()


async def test_late_joiner_has_attempts_of_its_own(
    make_session: MakeSession, server: FakeSchedules, clock: FakeClock
) -> None:
    """Of a wait and of a single fetch: what others have used up is not counted."""
    retry = RetryPolicy(attempts=3, base=1, max_pause=1, max_outage=0)
    session = make_session(retry=retry, polling=PollingPolicy.fixed(1))
    ref = server.script_operation(fault(500, delay=10), fault(500, delay=10), fault(500), DONE)
    early = asyncio.create_task(session.wait_for_operation(*ref))
    await clock.sleep(15)
    late = asyncio.create_task(session.wait_for_operation(*ref))
    single = asyncio.create_task(session.get_operation(*ref))
    results = await asyncio.gather(early, late, single, return_exceptions=True)
    assert [type(result) for result in results] == [ServerError, Operation, Operation]


async def test_fault_beyond_the_attempts_ends_the_wait(make_session: MakeSession, server: FakeSchedules) -> None:
    session = make_session(retry=RetryPolicy(max_outage=0))
    ref = server.script_operation(started(10), *[fault(503, correlation_id="c-1")] * 5)
    waiter = session.wait_for_operation(*ref)
    with pytest.raises(ServerError) as caught:
        await waiter
    assert (caught.value.status, caught.value.correlation_id, caught.value.ref) == (503, "c-1", ref)
    assert len(server.requests) == 6
    assert waiter.latest is not None


async def test_retry_after_beyond_the_policy_is_raised(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    ref = server.script_operation(throttled(600), DONE)
    impatient = session.wait_for_operation(*ref, polling=PollingPolicy(max_retry_after=300))
    patient = asyncio.create_task(session.wait_for_operation(*ref))
    with pytest.raises(RateLimitedError) as caught:
        await impatient
    assert (caught.value.retry_after, caught.value.ref, clock.monotonic()) == (600, ref, 0)
    assert (await patient).is_succeeded
    assert clock.monotonic() == 600


async def test_malformed_answer_ends_waits_with_own_errors(session: SchedulesSession, server: FakeSchedules) -> None:
    ref = server.script_operation(operation_answer("Started", percent_complete=float("nan")))
    results = await asyncio.gather(*[session.wait_for_operation(*ref) for _ in range(3)], return_exceptions=True)
    assert all(isinstance(result, MalformedResponseError) for result in results)
    assert len({id(result) for result in results}) == 3


async def test_closed_waiter_ends_every_use(session: SchedulesSession, server: FakeSchedules, clock: FakeClock) -> None:
    waiter = session.wait_for_operation(*server.script_operation(started(10)))
    iterating = asyncio.create_task(percents(aiter(waiter)))
    awaiting = asyncio.create_task(awaited(waiter))
    await clock.sleep(2.5)
    async with contextlib.aclosing(waiter):
        await waiter.aclose()
    assert await iterating == [10]
    with pytest.raises(WaitError, match="was closed") as caught:
        await awaiting
    assert caught.value.ref == waiter.ref
    with pytest.raises(WaitError, match="was closed"):
        await waiter
    assert await percents(aiter(waiter)) == []
    await clock.sleep(10)
    assert len(server.requests) == 3


async def test_waiter_closed_before_use_sends_nothing(session: SchedulesSession, server: FakeSchedules) -> None:
    waiter = session.wait_for_operation(*server.script_operation(DONE))
    await waiter.aclose()
    assert await percents(aiter(waiter)) == []
    with pytest.raises(WaitError, match="was closed"):
        await waiter
    assert server.requests == []


async def test_coroutine_closed_halfway_leaves_the_wait(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    waiter = session.wait_for_operation(*server.script_operation(started(10)))
    assert asyncio.isfuture(waiter.send(None))
    await clock.sleep(1.5)
    waiter.close()
    await clock.sleep(10)
    assert len(server.requests) == 2


async def test_short_waits_for_changes_keep_the_policy(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    """A cancelled `anext` stops nothing, not even a request that is under way."""
    ref = server.script_operation(started(10, '"E1"'), operation_answer("Succeeded", delay=7))
    changes = aiter(session.wait_for_operation(*ref, polling=PollingPolicy.fixed(20), stall_timeout=30))
    yielded = [await anext(changes)]
    while not yielded[-1].is_done:
        pending = asyncio.ensure_future(anext(changes))
        await clock.sleep(2)
        pending.cancel()
        await asyncio.wait({pending})
        yielded += [] if pending.cancelled() else [pending.result()]
    assert (len(server.requests), clock.monotonic()) == (2, 28)


async def test_short_awaits_keep_the_policy(session: SchedulesSession, server: FakeSchedules, clock: FakeClock) -> None:
    waiter = session.wait_for_operation(*server.script_operation(started(10)), polling=PollingPolicy.fixed(60))
    for _ in range(50):
        task = asyncio.create_task(waiter)
        await clock.sleep(2)
        task.cancel()
        await asyncio.wait({task})
    assert len(server.requests) == 2


async def test_iteration_begun_anew_waits_for_its_poll(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    """A snapshot from before the break is no change, but the poll that was due then still is."""
    waiter = session.wait_for_operation(*server.script_operation(started(10), started(10), DONE))
    async for _ in waiter:
        break
    assert await percents(aiter(waiter)) == [10, 100]
    assert clock.monotonic() == 2
    assert session.stats.updates == 2


async def test_cancelled_iteration_stops_polling(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    async def follow() -> None:
        async for _ in session.wait_for_operation(*server.script_operation(started(10))):
            pass

    task = asyncio.create_task(follow())
    await clock.sleep(2.5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as kept:
        await task
    await clock.sleep(50)
    assert len(server.requests) == 3
    assert kept.value is not None


async def test_outcome_of_a_wait_holds_for_every_use(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    """An iteration that is late, and an await after it, get the same outcome without a request."""
    waiter = session.wait_for_operation(*server.script_operation(started(10), Answer(404), DONE))
    changes = aiter(waiter)
    await anext(changes)
    await clock.sleep(30)
    for use in (waiter, anext(changes)):
        with pytest.raises(NotFoundError):
            await use
    assert len(server.requests) == 2


async def test_iteration_may_be_shared_by_two_tasks(session: SchedulesSession, server: FakeSchedules) -> None:
    changes = aiter(session.wait_for_operation(*server.script_operation(started(10), started(20), DONE)))
    await anext(changes)
    both = await asyncio.gather(anext(changes), anext(changes))
    assert sorted(operation.percent_complete for operation in both) == [20, 100]


async def test_closed_iteration_ends_a_pending_anext(session: SchedulesSession, server: FakeSchedules) -> None:
    changes = aiter(session.wait_for_operation(*server.script_operation(started(10))))
    await anext(changes)
    rest = asyncio.create_task(percents(changes))
    await turns(3)
    await changes.aclose()
    assert await rest == []


async def test_fault_with_retry_after_is_slept_through(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    """As far as its policy goes; a single call has less patience."""
    ref = server.script_operation(fault(500, retry_after=300), DONE)
    impatient = session.wait_for_operation(*ref, polling=PollingPolicy(max_retry_after=200))
    results = await asyncio.gather(session.wait_for_operation(*ref), impatient, return_exceptions=True)
    assert isinstance(results[0], Operation)
    assert isinstance(results[1], ServerError)
    assert clock.monotonic() >= 300
    with pytest.raises(ServerError):
        await session.wait_for_operation(*server.script_operation(fault(500, retry_after=5000)))
    assert clock.monotonic() < 400


@pytest.mark.parametrize("twin", [copy.copy, copy.deepcopy, pickle.dumps])
async def test_iteration_cannot_be_copied_and_goes_on(
    twin: Callable[[object], object], session: SchedulesSession, server: FakeSchedules
) -> None:
    """A dropped copy would end the iteration that it was made of, whose next change would never come."""
    iteration = aiter(session.wait_for_operation(*server.script_operation(started(10), DONE)))
    await anext(iteration)
    with pytest.raises(TypeError, match="cannot be copied"):
        twin(iteration)
    assert (await asyncio.wait_for(anext(iteration), 10)).is_succeeded


async def test_checkpoint_has_new_tag_of_equal_snapshot(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    """So that the first request of the resumed wait, as that of a late joiner's, is answered with 304."""
    ref = server.script_operation(started(10, '"a"'), started(10, '"b"'), DONE)
    waiter = session.wait_for_operation(*ref, polling=EVERY_SECOND)
    wait = asyncio.ensure_future(waiter)
    await clock.sleep(1.5)
    joiner = session.wait_for_operation(*ref)
    async for operation in joiner:
        assert operation.etag == '"b"'
        break
    resumed = session.resume(waiter.checkpoint())
    assert [member.latest and member.latest.etag for member in resumed.members] == ['"b"']
    assert (await wait).is_succeeded


async def test_iteration_can_be_closed(session: SchedulesSession, server: FakeSchedules) -> None:
    waiter = session.wait_for_operation(*server.script_operation(started(10), DONE))
    await aiter(waiter).aclose()
    async with contextlib.aclosing(aiter(waiter)) as changes:
        await anext(changes)
    with pytest.raises(StopAsyncIteration):
        await anext(changes)


async def test_closed_session_ends_every_wait(session: SchedulesSession, server: FakeSchedules) -> None:
    ref = server.script_operation(started(10))
    waiter = session.wait_for_operation(*ref)
    changes = aiter(session.wait_for_operation(*ref))
    await anext(changes)
    waiting = asyncio.create_task(waiter)
    await turns(3)
    await session.close()
    with pytest.raises(SessionClosedError) as caught:
        await waiting
    assert caught.value.ref == ref
    with pytest.raises(SessionClosedError):
        await anext(changes)
    with pytest.raises(SessionClosedError):
        await session.wait_for_operation(*ref)


async def test_time_remaining_is_a_range(session: SchedulesSession, server: FakeSchedules) -> None:
    ref = server.start_operation(duration=100.0)
    waiter = session.wait_for_operation(*ref)
    assert waiter.time_remaining is None
    changes = aiter(waiter)
    async for operation in changes:
        if operation.percent_complete >= 50:
            break
    remaining = waiter.time_remaining
    assert remaining is not None
    assert remaining.low <= 50 <= remaining.high
    await changes.aclose()
    assert waiter.time_remaining is None


async def test_retry_after_on_a_200_postpones_the_poll(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    postponing = operation_answer("Started", percent_complete=10)
    ref = server.script_operation(evolve(postponing, headers=(("Retry-After", "20"),)), DONE)
    await session.wait_for_operation(*ref)
    assert clock.monotonic() == 20


@frozen
class OddPolicy(PollingPolicy):
    """Returns, or raises, `odd` from its second decision on."""

    odd: Any = 0.0
    decisions: list[Progress] = field(factory=list, eq=False)

    def interval(self, progress: Progress, seed: float, sample: float, load: float = 1.0) -> float:
        del seed, sample, load
        self.decisions.append(progress)
        if len(self.decisions) < 2:
            return 1.0
        if isinstance(self.odd, Exception):
            raise self.odd
        value: float = self.odd
        return value


@pytest.mark.parametrize(
    ("odd", "error"),
    [
        (KeyError("oops"), KeyError),
        (math.nan, ValueError),
        (math.inf, ValueError),
        (-1.0, ValueError),
        (None, TypeError),
        ("1", TypeError),
    ],
)
async def test_broken_policy_ends_its_own_wait_alone(
    session: SchedulesSession, server: FakeSchedules, odd: object, error: type[Exception]
) -> None:
    ref = server.start_operation(duration=10)
    broken = session.wait_for_operation(*ref, polling=OddPolicy(odd=odd))
    others = [session.wait_for_operation(*ref), session.get_operation(*ref), session.wait_for_operation(*ref)]
    result, *rest = await asyncio.gather(broken, *others, return_exceptions=True)
    assert isinstance(result, error)
    assert all(isinstance(one, Operation) for one in rest)
    with pytest.raises(error):
        await broken


async def test_broken_policy_ends_a_wait_without_others(session: SchedulesSession, server: FakeSchedules) -> None:
    waiter = session.wait_for_operation(*server.start_operation(duration=10), polling=OddPolicy(odd=KeyError("oops")))
    with pytest.raises(KeyError, match="oops"):
        await waiter
    assert len(server.requests) == 2


class Stop(BaseException):
    """Raised by a policy; no Exception, so it ends the whole wait."""


async def test_interrupted_wait_can_be_awaited_again(session: SchedulesSession, server: FakeSchedules) -> None:
    """Also while an iteration that was interrupted has not gone on."""

    class Stopping(PollingPolicy):
        is_stopped = False

        def interval(self, progress: Progress, seed: float, sample: float, load: float = 1.0) -> float:
            del progress, seed, sample, load
            if Stopping.is_stopped:
                return 1.0
            Stopping.is_stopped = True
            raise Stop

    waiter = session.wait_for_operation(*server.script_operation(started(10), DONE), polling=Stopping())
    changes = aiter(waiter)
    assert (await anext(changes)).percent_complete == 10
    assert (await asyncio.wait_for(waiter, 60)).is_succeeded
    with pytest.raises(Stop):
        await anext(changes)


@frozen
class ClosingPolicy(PollingPolicy):
    """Closes the wait that it decides for."""

    close: Callable[[], object] = field(kw_only=True, eq=False)

    def interval(self, progress: Progress, seed: float, sample: float, load: float = 1.0) -> float:
        del progress, seed, sample, load
        self.close()
        return 1.0


async def test_policy_may_close_its_own_wait(session: SchedulesSession, server: FakeSchedules) -> None:
    waiters: list[OperationWaiter] = []

    def close() -> None:
        waiters[0]._state.close()

    policy = ClosingPolicy(close=close)
    waiters.append(session.wait_for_operation(*server.script_operation(started(10)), polling=policy))
    with pytest.raises(WaitError, match="closed"):
        await waiters[0]
    assert session.stats.in_flight == 0
    assert (await session.get_operation(*server.script_operation(DONE))).is_succeeded


def make_broken(names: set[str]) -> PollingPolicy:
    """Return a policy that raises LookupError when a setting of these names is read."""

    @frozen
    class Broken(PollingPolicy):
        def __getattribute__(self, name: str) -> Any:
            if name in names:
                raise LookupError("no settings")
            return super().__getattribute__(name)

    return Broken()


async def test_policy_that_fails_in_planning_ends_the_wait(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    """As one that reads its settings when they are needed; a 429 needs none."""
    broken: set[str] = set()
    ref = server.script_operation(throttled(5), started(10), DONE)
    waiter = session.wait_for_operation(*ref, polling=make_broken(broken))
    broken.add("min_interval")
    with pytest.raises(LookupError, match="no settings"):
        await waiter
    assert clock.monotonic() == 5


async def test_policy_that_fails_at_the_end_affects_nobody(session: SchedulesSession, server: FakeSchedules) -> None:
    broken: set[str] = set()
    ref = server.script_operation(started(10), DONE)
    other = asyncio.ensure_future(session.wait_for_operation(*ref))
    changes = aiter(session.wait_for_operation(*ref, polling=make_broken(broken)))
    assert not (await anext(changes)).is_done
    broken.add("max_predicted_interval")
    assert (await anext(changes)).is_done
    assert (await other).is_done


async def test_iteration_of_ended_wait_may_be_left(session: SchedulesSession, server: FakeSchedules) -> None:
    waiter = session.wait_for_operation(*server.script_operation(DONE))
    final = await waiter
    changes = aiter(waiter)
    assert await anext(changes) is final
    del changes
    assert await waiter is final
    assert len(server.requests) == 1


async def test_mapping_may_close_the_wait(make_session: MakeSession, server: FakeSchedules) -> None:
    """In the midst of the fetch whose snapshot it keeps."""

    class Closing(dict[OperationRef, Operation]):
        def __setitem__(self, ref: OperationRef, operation: Operation) -> None:
            waiter._state.close()

    session = make_session(snapshots=Closing())
    waiter = session.wait_for_operation(*server.script_operation(started(10)))
    with pytest.raises(WaitError, match="closed"):
        await waiter
    await turns(5)
    assert (len(server.requests), session.stats.in_flight) == (1, 0)


async def test_mapping_may_close_the_wait_amid_its_join(make_session: MakeSession, server: FakeSchedules) -> None:
    """No operation is polled for it, neither those that have joined nor the others."""

    class Closing(dict[OperationRef, Operation]):
        def setdefault(self, *_: Any) -> Any:
            group._state.close()

    refs = [server.script_operation(started(10, etag)) for etag in ('"a"', '"b"', '"c"')]
    async with server.session() as other:
        begun = other.wait_for_operations(refs)
        changes = aiter(begun)
        for _ in refs:
            await anext(changes)
    count = len(server.requests)
    session = make_session(snapshots=Closing())
    group = session.resume(begun.checkpoint())
    with pytest.raises(WaitError, match="closed"):
        await group
    await turns(20)
    assert (len(server.requests), session.in_flight) == (count, 0)


def test_iteration_on_another_loop_is_an_error() -> None:
    session = SchedulesSession("token", base_url="http://127.0.0.1:1")
    changes = aiter(session.wait_for_operation("schedule", "operation"))

    async def begin() -> None:
        task = asyncio.ensure_future(anext(changes))
        await turns(1)
        task.cancel()
        await asyncio.wait([task])

    async def go_on() -> None:
        with pytest.raises(ValueError, match="one event loop"):
            await anext(changes)

    with asyncio.Runner() as first, asyncio.Runner() as second:
        first.run(begin())
        second.run(go_on())
        first.run(session.close())


async def test_aclose_on_another_loop_is_rejected(session: SchedulesSession, server: FakeSchedules) -> None:
    """Of a waiter and of an iteration; both go on."""
    waiter = session.wait_for_operation(*server.script_operation(started(10), DONE))
    changes = aiter(waiter)
    await anext(changes)
    for closing in (waiter.aclose(), changes.aclose()):
        with pytest.raises(ValueError, match="one event loop"):
            await asyncio.to_thread(asyncio.run, closing)
    assert [operation.is_succeeded async for operation in changes] == [True]
    assert (await waiter).is_succeeded


def test_aclose_after_its_loop_ended_lets_go() -> None:
    async def leave_open() -> tuple[OperationWaiter, ChangeIterator, SchedulesSession]:
        async with FakeSchedules() as server:
            session = server.session()
            waiter = session.wait_for_operation(*server.script_operation(started(10)))
            changes = aiter(waiter)
            await anext(changes)
            return waiter, changes, session

    waiter, changes, session = asyncio.run(leave_open())
    asyncio.run(changes.aclose())
    asyncio.run(waiter.aclose())
    asyncio.run(session.close())
    with pytest.raises(StopAsyncIteration):
        asyncio.run(anext_of(changes))


async def anext_of(changes: ChangeIterator) -> Operation:
    return await anext(changes)


@pytest.mark.parametrize("is_first", [True, False])
async def test_session_closed_amid_a_join_ends_the_wait(
    make_session: MakeSession, server: FakeSchedules, is_first: bool
) -> None:
    """By the caller's mapping or policy, with the first step of `close`, as an eager task would run it."""

    def begin_to_close() -> None:
        closings.append(session.close())
        with contextlib.suppress(StopIteration):
            closings[-1].send(None)

    class ClosingMapping(dict[OperationRef, Operation]):
        def setdefault(self, *_: Any) -> Any:
            begin_to_close()

    @frozen
    class ClosingPolicy(PollingPolicy):
        def interval(self, *_: Any, **__: Any) -> float:
            begin_to_close()
            return 1.0

    closings: list[Coroutine[Any, Any, None]] = []
    ref = server.script_operation(started(10))
    session = make_session(snapshots=ClosingMapping())
    async with server.session() as other:
        begun = other.wait_for_operation(ref)
        await anext(aiter(begun))
        checkpoint = begun.checkpoint()
    if is_first:
        waiter = session.resume(checkpoint)
    else:
        earlier = asyncio.create_task(session.wait_for_operation(ref))
        while not session.stats.updates:
            await turns(1)
        waiter = session.wait_for_operation(ref, polling=ClosingPolicy())
    with pytest.raises(SessionClosedError):
        await waiter
    for closing in closings:
        with contextlib.suppress(SessionClosedError):
            closing.close()
    if not is_first:
        with pytest.raises(SessionClosedError):
            await earlier
    await session.close()


@pytest.mark.parametrize("interval", [0, 0.0, 1e-300])
async def test_interval_of_nearly_nothing_stops_nobody(
    make_session: MakeSession, server: FakeSchedules, interval: float
) -> None:
    """The rate limits bound the polls; a wait for another operation gets its share."""
    session = make_session(rate_limits=[RateLimit(4, 1)])
    greedy = session.wait_for_operation(*server.start_operation(duration=3), polling=OddPolicy(odd=interval))
    other = session.wait_for_operation(*server.start_operation(duration=2))
    operations = await asyncio.gather(greedy, other)
    assert all(operation.is_succeeded for operation in operations)
