"""Fetches: throttling pauses the whole session, and nobody who leaves delays anybody."""

import asyncio
import itertools
import math
from itertools import pairwise

import pytest
from event_loops import turns
from raw_servers import serve
from sessions import MakeSession
from virtual_time import most_in_any_window

from schedules_async import (
    COMMUNITY_TIER,
    STANDARD_TIER,
    AuthenticationError,
    MalformedResponseError,
    NotFoundError,
    OperationGroupError,
    OperationRef,
    OperationTimeoutError,
    PollingPolicy,
    RateLimit,
    RateLimitedError,
    RetryPolicy,
    SchedulesSession,
    ServerError,
    TransportError,
)
from schedules_async.events import Event, Polled, Throttled
from schedules_async.testing import FakeClock, FakeSchedules, fault, not_modified, operation_answer, throttled

DONE = operation_answer("Succeeded")


async def test_429_closes_gate_for_every_request(
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


async def test_later_shorter_429_does_not_reopen_gate(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    long = server.script_operation(throttled(60), DONE)
    short = server.script_operation(throttled(5, delay=1), DONE)
    await asyncio.gather(session.get_operation(*long), session.get_operation(*short))
    assert sorted(request.time for request in server.requests)[2] >= 60
    assert clock.monotonic() >= 60


@pytest.mark.parametrize("leaver", range(3))
async def test_call_cancelled_at_gate_delays_nobody(
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


async def test_twenty_429s_use_up_no_attempts(
    make_session: MakeSession, server: FakeSchedules, clock: FakeClock
) -> None:
    session = make_session(retry=RetryPolicy(attempts=1))
    ref = server.script_operation(*[throttled(2)] * 20, DONE)
    assert (await session.wait_for_operation(*ref)).is_succeeded
    assert (session.stats.throttled, session.stats.retried) == (20, 0)
    assert clock.monotonic() >= 40


async def test_429_without_retry_after_closes_gate_for_backoff(
    make_session: MakeSession, server: FakeSchedules, clock: FakeClock
) -> None:
    session = make_session(retry=RetryPolicy(base=1, max_pause=4))
    await session.get_operation(*server.script_operation(*[throttled(None)] * 6, DONE))
    assert session.stats.throttled == 6
    assert 0 < clock.monotonic() <= 1 + 2 + 4 * 4 + 6


async def test_call_at_gate_closed_too_long_sends_nothing(
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


async def test_503_with_retry_after_closes_gate_and_counts(
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


async def test_wait_throttled_beside_planned_poll_goes_on(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    started = operation_answer("Started", percent_complete=10)
    planned = session.wait_for_operation(*server.script_operation(started), polling=PollingPolicy.fixed(1000))
    changes = aiter(planned)
    await anext(changes)
    ref = server.script_operation(started, throttled(1), throttled(1), throttled(1), DONE)
    assert (await session.wait_for_operation(*ref, timeout=60)).is_succeeded
    assert clock.monotonic() < 10


async def test_opening_gate_lets_no_herd_leave(
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


async def test_declared_limits_hold_under_many_calls(
    make_session: MakeSession, server: FakeSchedules, clock: FakeClock
) -> None:
    session = make_session(rate_limits=[RateLimit(10, 5), RateLimit(30, 60)])
    refs = [server.script_operation(DONE) for _ in range(60)]
    await asyncio.gather(*(session.get_operation(*ref) for ref in refs))
    times = [request.time for request in server.requests]
    for calls, per in ((10, 5), (30, 60)):
        assert max(len([other for other in times if time - per < other <= time]) for time in times) <= calls
    assert 60 <= clock.monotonic() <= 130


async def test_earliest_call_goes_first(make_session: MakeSession, server: FakeSchedules, clock: FakeClock) -> None:
    session = make_session(rate_limits=[RateLimit(1, 10)])
    refs = [server.script_operation(DONE) for _ in range(12)]
    tasks = []
    for ref in refs:
        tasks.append(asyncio.create_task(session.get_operation(*ref)))
        await clock.sleep(0.1)
    await asyncio.gather(*tasks)
    assert [request.ref for request in server.requests] == refs


async def test_new_session_starts_with_few_requests_at_once(make_session: MakeSession, server: FakeSchedules) -> None:
    session = make_session()
    slow = [server.script_operation(operation_answer("Succeeded", delay=1)) for _ in range(40)]
    tasks = [asyncio.create_task(session.get_operation(*ref)) for ref in slow]
    await turns(100)
    assert len(server.requests) <= 10
    await asyncio.gather(*tasks)


async def test_at_most_hundred_requests_are_in_flight(make_session: MakeSession, server: FakeSchedules) -> None:
    session = make_session()
    for _ in range(4):
        refs = [server.script_operation(operation_answer("Succeeded", delay=1)) for _ in range(150)]
        await asyncio.gather(*(session.get_operation(*ref) for ref in refs))
    times = [1e6 * request.time for request in server.requests]
    assert most_in_any_window([round(time) for time in times], 1e6) == 100


async def test_wait_closed_before_its_poll_frees_its_place(session: SchedulesSession, server: FakeSchedules) -> None:
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


async def test_poll_cancelled_from_outside_is_retried(
    make_session: MakeSession, server: FakeSchedules, clock: FakeClock
) -> None:
    """Whoever waits is not cancelled with the poll's own task, and no attempt is lost."""
    session = make_session(polling=PollingPolicy.fixed(5), retry=RetryPolicy(attempts=1))
    ref = server.script_operation(operation_answer("Succeeded", delay=10))
    call = asyncio.create_task(session.get_operation(*ref))
    wait = asyncio.create_task(session.wait_for_operation(*ref))
    await turns(20)
    assert cancel_fetches() == 1
    results = await asyncio.gather(call, wait)
    assert [operation.is_succeeded for operation in results] == [True, True]
    assert 10 <= clock.monotonic() < 12
    assert (session.stats.requests, session.stats.retried, session.stats.in_flight) == (2, 0, 0)


async def test_poll_cancelled_before_it_began_is_retried(session: SchedulesSession, server: FakeSchedules) -> None:
    call = asyncio.create_task(session.get_operation(*server.script_operation(DONE)))
    await turns(1)
    assert cancel_fetches() == 1
    assert (await call).is_succeeded
    assert (session.stats.requests, session.stats.retried, session.stats.in_flight) == (1, 0, 0)


async def test_call_whose_polls_are_cancelled_raises_transport_error(
    make_session: MakeSession, server: FakeSchedules
) -> None:
    """At last, so that a caller is not kept for ever by what cancels each poll."""
    session = make_session(retry=RetryPolicy(attempts=1))
    call = asyncio.create_task(session.get_operation(*server.script_operation(DONE)))
    while not call.done():
        await turns(1)
        cancel_fetches()
    with pytest.raises(TransportError, match="cancelled 21 times"):
        await call


def cancel_fetches() -> int:
    """Cancel the tasks of polls under way, as somebody who cancels all tasks of the loop does; return how many."""
    tasks = [task for task in asyncio.all_tasks() if "Poller._poll" in repr(task)]
    return sum(task.cancel() for task in tasks)


@pytest.mark.parametrize("limits", [(), COMMUNITY_TIER, STANDARD_TIER])
@pytest.mark.parametrize("retry_after", ["0", "Wed, 01 Jan 2020 00:00:00 GMT"])
async def test_zero_retry_after_is_followed_by_backoff(
    make_session: MakeSession, server: FakeSchedules, limits: tuple[RateLimit, ...], retry_after: str
) -> None:
    """A minute of it leads to as few requests as a minute without Retry-After."""
    session = make_session(rate_limits=limits)
    ref = server.script_operation(throttled(retry_after))
    with pytest.raises(OperationTimeoutError):
        await session.wait_for_operation(*ref, timeout=60)
    times = [request.time for request in server.requests]
    assert 5 <= len(times) <= 10
    assert all(later - earlier >= 0.25 for earlier, later in pairwise(times))
    assert session.stats.throttled == len(times)


async def test_zero_retry_after_loses_no_wait(make_session: MakeSession, server: FakeSchedules) -> None:
    """Twenty waits of a service that allows two requests a second, whatever was declared."""
    server.quota, server.window = 2, 1
    session = make_session(rate_limits=STANDARD_TIER)
    refs = [server.script_operation(DONE) for _ in range(20)]
    results = await session.wait_for_operations(refs, timeout=120)
    assert len(results) == 20
    assert session.stats.requests <= 60


async def test_call_at_closed_gate_takes_its_token_late(
    make_session: MakeSession, server: FakeSchedules, clock: FakeClock
) -> None:
    """When its request leaves, not when it is queued: a token might expire in between."""
    taken: list[float] = []

    def get_token() -> str:
        taken.append(clock.monotonic())
        return server.token

    session = make_session(auth=get_token)
    call = asyncio.create_task(session.get_operation(*server.script_operation(throttled(30), DONE)))
    await clock.sleep(1)
    await asyncio.gather(call, session.get_operation(*server.script_operation(DONE)))
    assert [time >= 30 for time in taken] == [False, True, True]


async def test_request_whose_gate_closed_meanwhile_is_not_sent(
    make_session: MakeSession, server: FakeSchedules, clock: FakeClock
) -> None:
    """It waited for its token when another one met the 429; it is neither counted nor a fault."""
    waits = iter([0.0, 5.0, 0.0, 0.0])

    async def get_token() -> str:
        await clock.sleep(next(waits))
        return server.token

    session = make_session(auth=get_token, retry=RetryPolicy(attempts=1))
    calls = [
        asyncio.create_task(session.get_operation(*server.script_operation(*answers)))
        for answers in ((throttled(30, delay=1), DONE), (DONE,))
    ]
    results = await asyncio.gather(*calls)
    assert all(operation.is_succeeded for operation in results)
    assert [request.time >= 30 for request in server.requests] == [False, True, True]
    assert (session.stats.requests, session.stats.retried, session.stats.in_flight) == (3, 0, 0)


async def test_calls_one_after_another_raise_learned_rate(
    make_session: MakeSession, server: FakeSchedules, clock: FakeClock
) -> None:
    """Sixty, each answered in 50 ms, take little longer than their answers."""
    session = make_session(rate_limits=())
    for _ in range(60):
        await session.get_operation(*server.script_operation(operation_answer("Succeeded", delay=0.05)))
    assert clock.monotonic() <= 1.5 * 60 * 0.05


async def test_operations_that_never_answer_hold_up_no_others(
    make_session: MakeSession, server: FakeSchedules, clock: FakeClock
) -> None:
    """The requests that a young session may have in flight become more with time, too."""
    session = make_session()
    silent = [server.script_operation(operation_answer("Succeeded", delay=1000)) for _ in range(20)]
    calls = [asyncio.create_task(session.get_operation(*ref)) for ref in silent]
    await turns(100)
    refs = [server.script_operation(DONE) for _ in range(30)]
    await asyncio.gather(*(session.get_operation(*ref) for ref in refs))
    assert clock.monotonic() <= 2
    for call in calls:
        call.cancel()


async def test_outage_is_probed_twice_a_second(
    make_session: MakeSession, server: FakeSchedules, clock: FakeClock
) -> None:
    """Fifty waits during a minute of 503s."""
    session = make_session(retry=RetryPolicy(base=0.1, max_pause=1))
    refs = [server.script_operation(fault(503)) for _ in range(50)]
    with pytest.raises(OperationGroupError):
        await session.wait_for_operations(refs, timeout=60)
    times = [request.time for request in server.requests if request.time >= 1]
    assert len(times) <= 2 * 60
    assert session.stats.requests == len(server.requests)
    assert clock.monotonic() == 60


async def test_answer_after_outage_wakes_all_who_back_off(
    make_session: MakeSession, server: FakeSchedules, clock: FakeClock
) -> None:
    """Nobody sits out a backoff delay of minutes once the service answers again."""
    session = make_session(retry=RetryPolicy(base=1000, max_pause=1000, max_outage=math.inf))
    refs = [server.script_operation(*[fault(503)] * 3, DONE) for _ in range(20)]
    wait = asyncio.create_task(session.wait_for_operations(refs))
    await clock.sleep(60)
    assert (await session.get_operation(*server.script_operation(DONE))).is_succeeded
    before = len(server.requests)
    await clock.sleep(1)
    assert len(server.requests) >= before + 3
    wait.cancel()


async def test_tag_that_never_matches_is_no_longer_sent(session: SchedulesSession, server: FakeSchedules) -> None:
    """Two 304s that refer to another snapshot cost a second request each; after that there is one for each fetch."""
    started, other = operation_answer("Started", etag='"a"'), not_modified('"b"')
    ref = server.script_operation(started, other, started, other, started)
    for _ in range(5):
        await session.get_operation(ref)
    conditions = [request.if_none_match for request in server.requests]
    assert conditions == [None, '"a"', None, '"a"', None, None, None]


async def test_usable_304_between_keeps_the_tag(session: SchedulesSession, server: FakeSchedules) -> None:
    started, other, same = operation_answer("Started", etag='"a"'), not_modified('"b"'), not_modified('"a"')
    ref = server.script_operation(started, other, started, same, other, started, same)
    for _ in range(5):
        await session.get_operation(ref)
    conditions = [request.if_none_match for request in server.requests]
    assert conditions == [None, '"a"', None, '"a"', '"a"', None, '"a"']


async def test_answered_condition_between_keeps_the_tag(session: SchedulesSession, server: FakeSchedules) -> None:
    started, other = operation_answer("Started", etag='"a"'), not_modified('"b"')
    ref = server.script_operation(started, other, started, started, other, started)
    for _ in range(5):
        await session.get_operation(ref)
    conditions = [request.if_none_match for request in server.requests]
    assert conditions == [None, '"a"', None, '"a"', '"a"', None, '"a"']


async def test_401_after_an_unusable_304_is_renewed(server: FakeSchedules) -> None:
    """The repeated request, which carries no tag, is repeated once more with the renewed token."""
    started, unauthorized = operation_answer("Started", etag='"a"'), fault(401)
    ref = server.script_operation(started, not_modified('"b"'), unauthorized, DONE)
    async with server.session(auth=server.credentials()) as session:
        await session.get_operation(ref)
        assert (await session.get_operation(ref)).is_succeeded
    sent = [(request.headers["Authorization"], request.if_none_match) for request in server.requests]
    first, second = "Bearer test-token-1", "Bearer test-token-2"
    assert sent == [(first, None), (first, '"a"'), (first, None), (second, None)]


@pytest.mark.parametrize(
    ("head", "error"), [("304 Not Modified", MalformedResponseError), ("401 Unauthorized", AuthenticationError)]
)
async def test_stale_connection_does_not_repeat_the_first_request(
    clock: FakeClock, head: str, error: type[Exception]
) -> None:
    """The server closes each connection when the second request comes."""
    answered, tokens = [], map("token-{}".format, itertools.count())

    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answered.append(writer)
        status = head if len(answered) < 9 else "410 Gone"
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
        await reader.read(4096)
        writer.close()

    async with (
        serve(answer_once) as url,
        SchedulesSession(lambda: next(tokens), base_url=url, clock=clock) as session,
    ):
        with pytest.raises(error):
            await session.get_operation("schedule", "operation")
        assert session.stats.requests == 3
    assert len(answered) == 2


class HandMovedClock:
    """A clock that a server moves while a request is in flight, for which a FakeClock waits."""

    reading = 0.0

    def monotonic(self) -> float:
        return self.reading

    async def sleep(self, seconds: float) -> None:
        raise AssertionError(f"nothing sleeps for {seconds} s")


async def test_seconds_are_those_of_the_last_request() -> None:
    """The second request of the fetch met a stale connection, and was sent once more."""
    clock, connections, polled = HandMovedClock(), [], list[float]()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        if len(connections) == 1:
            writer.write(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 0\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
        else:
            clock.reading += 3
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    def note(event: Event) -> None:
        polled.extend([event.seconds] if isinstance(event, Polled) else [])

    async with serve(answer) as url, SchedulesSession("token", base_url=url, clock=clock, hooks=[note]) as session:
        with pytest.raises(NotFoundError):
            await session.get_operation("schedule", "operation")
    assert polled == [3.0]


async def test_429s_in_flight_together_lengthen_the_pause_once(
    make_session: MakeSession, server: FakeSchedules
) -> None:
    """Without a Retry-After the first pause is at most the shortest backoff delay, half a second."""
    refs = [server.script_operation(throttled(None), DONE) for _ in range(5)]
    events = list[Event]()
    await make_session(hooks=[events.append]).wait_for_operations(refs)
    pauses = [event.closed_for for event in events if isinstance(event, Throttled)]
    assert len(pauses) == len(refs)
    assert max(pauses) <= 0.5


async def test_error_is_the_429_that_closes_the_gate(
    make_session: MakeSession, server: FakeSchedules, clock: FakeClock
) -> None:
    """Not one that came later and named an earlier time."""
    session = make_session(polling=PollingPolicy(max_retry_after=60))
    longest, later = server.script_operation(throttled(3600)), server.script_operation(throttled(1, delay=1))
    patient = PollingPolicy(max_retry_after=math.inf)
    tasks = [asyncio.create_task(session.wait_for_operation(ref, polling=patient)) for ref in (longest, later)]
    await clock.sleep(2)
    with pytest.raises(RateLimitedError) as caught:
        await session.wait_for_operation(server.script_operation(DONE))
    assert caught.value.retry_after == 3600
    for task in tasks:
        task.cancel()


async def test_end_of_outage_keeps_the_retry_after_of_an_error(
    session: SchedulesSession, server: FakeSchedules
) -> None:
    """Others, that only wait for a backoff delay, are polled at once."""
    asked = server.script_operation(fault(502, retry_after=60), DONE)
    others = [server.script_operation(fault(502), DONE) for _ in range(5)]
    await session.wait_for_operations([asked, *others])
    first, second = server.requests_for(asked)
    assert second.time - first.time >= 60
    assert all(server.requests_for(ref)[-1].time < 30 for ref in others)


@pytest.mark.parametrize("limits", [[RateLimit(1, 60)], [RateLimit(1000, 1)]])
async def test_rejected_text_token_is_an_error_at_once(
    make_session: MakeSession, server: FakeSchedules, clock: FakeClock, limits: list[RateLimit]
) -> None:
    """Nothing is sent for it, so it waits for no turn, nor for the gate that another answer has closed."""
    session = make_session(auth="another-token", rate_limits=limits)
    with pytest.raises(AuthenticationError):
        await session.get_operation(*server.start_operation(10))
    assert (clock.monotonic(), len(server.requests)) == (0, 1)
