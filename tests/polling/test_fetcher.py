"""Throttling is the session's: one gate for everything, and nobody who leaves delays anybody."""

import asyncio

import pytest
from event_loops import turns
from sessions import MakeSession

from schedules_async import (
    OperationRef,
    PollingPolicy,
    RateLimit,
    RateLimitedError,
    RetryPolicy,
    SchedulesSession,
    ServerError,
)
from schedules_async._polling.fetcher import Getter
from schedules_async.testing import FakeClock, FakeSchedules, fault, operation_answer, throttled

DONE = operation_answer("Succeeded")


async def test_a_429_closes_the_gate_for_every_request(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    refused, other = server.script_operation(throttled(30), DONE), server.script_operation(DONE)
    first = asyncio.create_task(session.get_operation(*refused))
    await clock.sleep(1)
    await asyncio.gather(first, session.get_operation(*other), session.wait_for_operation(*other))
    times = [request.time for request in server.requests]
    assert times[0] == 0
    assert min(times[1:]) >= 30
    assert session.stats.throttled == 1


async def test_a_later_shorter_refusal_does_not_reopen_the_gate(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    long = server.script_operation(throttled(60), DONE)
    short = server.script_operation(throttled(5, delay=1), DONE)
    await asyncio.gather(session.get_operation(*long), session.get_operation(*short))
    assert sorted(request.time for request in server.requests)[2] >= 60
    assert clock.monotonic() >= 60


@pytest.mark.parametrize("leaver", range(3))
async def test_who_leaves_the_gate_delays_nobody(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock, leaver: int
) -> None:
    """The one that met the 429 is the first."""
    refs = [server.script_operation(throttled(30), DONE), server.script_operation(DONE), server.script_operation(DONE)]
    tasks = [asyncio.create_task(session.get_operation(*refs[0]))]
    await clock.sleep(1)
    tasks += [asyncio.create_task(session.get_operation(*ref)) for ref in refs[1:]]
    await clock.sleep(1)
    tasks.pop(leaver).cancel()
    await asyncio.gather(*tasks)
    assert 30 <= clock.monotonic() < 32


async def test_twenty_refusals_cost_no_retry_budget(
    make_session: MakeSession, server: FakeSchedules, clock: FakeClock
) -> None:
    session = make_session(retry=RetryPolicy(attempts=1))
    ref = server.script_operation(*[throttled(2)] * 20, DONE)
    assert (await session.wait_for_operation(*ref)).is_succeeded
    assert (session.stats.throttled, session.stats.retried) == (20, 0)
    assert clock.monotonic() >= 40


async def test_a_429_without_a_time_closes_the_gate_for_a_pause_of_the_retry_policy(
    make_session: MakeSession, server: FakeSchedules, clock: FakeClock
) -> None:
    session = make_session(retry=RetryPolicy(base=1, max_pause=4))
    await session.get_operation(*server.script_operation(*[throttled(None)] * 6, DONE))
    assert session.stats.throttled == 6
    assert 0 < clock.monotonic() <= 1 + 2 + 4 * 4 + 6


async def test_a_call_lets_itself_be_refused_for_a_bounded_time_in_all(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    ref = server.script_operation(*[throttled(50)] * 3, DONE)
    with pytest.raises(RateLimitedError) as caught:
        await session.get_operation(*ref)
    assert clock.monotonic() == 100
    assert (caught.value.ref, caught.value.retry_after) == (ref, 50)
    assert caught.value.limits["ITwinPlatform-RateLimited-Tier"]


async def test_a_call_at_a_gate_closed_for_longer_is_refused_without_a_request(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    other = server.script_operation(DONE)
    for ref in (server.script_operation(throttled(500)), other):
        with pytest.raises(RateLimitedError) as caught:
            await session.get_operation(*ref)
        assert caught.value.ref == ref
    assert len(server.requests) == 1
    assert (await session.wait_for_operation(*other)).is_succeeded
    assert clock.monotonic() == 500


async def test_a_503_that_names_a_time_closes_the_gate_and_counts(
    make_session: MakeSession, server: FakeSchedules, clock: FakeClock
) -> None:
    session = make_session(retry=RetryPolicy(attempts=2))
    refused, other = server.script_operation(*[fault(503, retry_after=20)] * 2), server.script_operation(DONE)
    first = asyncio.create_task(session.get_operation(*refused))
    await clock.sleep(1)
    await session.get_operation(*other)
    assert clock.monotonic() >= 20
    with pytest.raises(ServerError):
        await first
    assert (session.stats.throttled, session.stats.retried) == (2, 1)


async def test_what_is_refused_twice_while_another_look_is_planned_goes_on(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    started = operation_answer("Started", percent_complete=10)
    planned = session.wait_for_operation(*server.script_operation(started), polling=PollingPolicy.fixed(1000))
    changes = aiter(planned)
    await anext(changes)
    ref = server.script_operation(started, throttled(1), throttled(1), throttled(1), DONE)
    assert (await session.wait_for_operation(*ref, timeout=60)).is_succeeded
    assert clock.monotonic() < 10


async def test_no_herd_leaves_when_the_gate_opens(
    make_session: MakeSession, server: FakeSchedules, clock: FakeClock
) -> None:
    session = make_session(rate_limits=())
    refs = [server.script_operation(throttled(10), DONE)] + [server.script_operation(DONE) for _ in range(20)]
    first = asyncio.create_task(session.get_operation(*refs[0]))
    await clock.sleep(1)
    await asyncio.gather(first, *(session.get_operation(*ref) for ref in refs[1:]))
    times = sorted(request.time for request in server.requests)[1:]
    assert times[0] == 10
    assert len([time for time in times if time < 11]) <= 6


async def test_own_limits_hold_under_a_crowd(
    make_session: MakeSession, server: FakeSchedules, clock: FakeClock
) -> None:
    session = make_session(rate_limits=[RateLimit(10, 5), RateLimit(30, 60)])
    refs = [server.script_operation(DONE) for _ in range(60)]
    await asyncio.gather(*(session.get_operation(*ref) for ref in refs))
    times = [request.time for request in server.requests]
    for calls, per in ((10, 5), (30, 60)):
        assert max(len([other for other in times if time - per < other <= time]) for time in times) <= calls
    assert 60 <= clock.monotonic() <= 130


async def test_the_earliest_due_goes_first(make_session: MakeSession, server: FakeSchedules, clock: FakeClock) -> None:
    session = make_session(rate_limits=[RateLimit(1, 10)])
    refs = [server.script_operation(DONE) for _ in range(12)]
    tasks = []
    for ref in refs:
        tasks.append(asyncio.create_task(session.get_operation(*ref)))
        await clock.sleep(0.1)
    await asyncio.gather(*tasks)
    assert [request.ref for request in server.requests] == refs


async def test_a_new_session_starts_with_few_requests_at_once(make_session: MakeSession, server: FakeSchedules) -> None:
    session = make_session()
    slow = [server.script_operation(operation_answer("Succeeded", delay=1)) for _ in range(40)]
    tasks = [asyncio.create_task(session.get_operation(*ref)) for ref in slow]
    await turns(100)
    assert len(server.requests) <= 10
    await asyncio.gather(*tasks)


async def test_at_most_a_hundred_requests_are_in_flight(make_session: MakeSession, server: FakeSchedules) -> None:
    session = make_session()
    for _ in range(12):
        refs = [server.script_operation(operation_answer("Succeeded", delay=1)) for _ in range(150)]
        await asyncio.gather(*(session.get_operation(*ref) for ref in refs))
    most, times = 0, [request.time for request in server.requests]
    for time in set(times):
        most = max(most, len([other for other in times if time - 1 < other <= time]))
    assert most == 100


async def test_a_look_dropped_before_it_began_gives_its_place_back(
    session: SchedulesSession, server: FakeSchedules
) -> None:
    for number in range(20):
        waiter = session.wait_for_operation("schedule", str(number))
        waiter.send(None)
        waiter.close()
    async with asyncio.timeout(20):  # without its places the session hangs
        await session.get_operation(*server.script_operation(DONE))
    assert len(server.requests) == 1


async def test_cancelled_calls_free_their_places(session: SchedulesSession, server: FakeSchedules) -> None:
    refs = [OperationRef("s", str(number)) for number in range(30)]
    for ref in refs:
        server.script_operation(DONE, schedule_id=ref.schedule_id, operation_id=ref.operation_id)
    for count in (0, 1, 2, 3, 5):
        tasks = [asyncio.create_task(session.get_operation(*ref)) for ref in refs]
        await turns(1 + count)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    results = await asyncio.gather(*(session.get_operation(*ref) for ref in refs))
    assert all(operation.is_succeeded for operation in results)


async def test_what_waits_in_line_may_be_cancelled_by_the_loop(
    make_session: MakeSession, server: FakeSchedules
) -> None:
    """Whoever cancels a look's own task cancels those who wait for it: nobody hangs."""
    session = make_session(polling=PollingPolicy.fixed(5))
    ref = server.script_operation(operation_answer("Succeeded", delay=100))
    call = asyncio.create_task(session.get_operation(*ref))
    wait = asyncio.create_task(session.wait_for_operation(*ref))
    await turns(20)
    for task in asyncio.all_tasks():
        if "Looks._run" in repr(task):
            task.cancel()
    results = await asyncio.gather(call, wait, return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError] * 2


async def test_a_call_hears_one_outcome_only(clock: FakeClock) -> None:
    """Refused twice before it wakes, and told of an end after that, it raises the first."""
    getter = Getter(OperationRef("s", "o"), clock, 10.0)
    getter.put_off(20.0, RateLimitedError("first"))
    getter.put_off(30.0, RateLimitedError("second"))
    getter.look_ended(asyncio.CancelledError())
    with pytest.raises(RateLimitedError, match="first"):
        await getter.operation()
