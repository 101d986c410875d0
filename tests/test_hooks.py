"""Hooks and the log: who is told of what, in which order, and that nobody is disturbed."""

import asyncio
import contextvars
import inspect
import logging
import re
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from attrs import define, field
from event_loops import turns
from sessions import UNLIMITED, MakeSession

from schedules_async import (
    NotFoundError,
    Operation,
    OperationFailedError,
    OperationGroupError,
    OperationRef,
    OperationTimeoutError,
    OperationWaiter,
    PollingPolicy,
    RateLimitedError,
    RetryPolicy,
    SchedulesSession,
    ServerError,
    SessionClosedError,
)
from schedules_async.events import (
    Changed,
    Event,
    Polled,
    Retried,
    Throttled,
    TokenRenewed,
    WaitBegun,
    WaitEnded,
)
from schedules_async.testing import FakeClock, FakeSchedules, fault, not_modified, operation_answer, throttled

DONE = operation_answer("Succeeded", percent_complete=100)
TAGGED = operation_answer("Started", percent_complete=40, etag='"E1"')
LOGGER = "schedules_async"

Told = list[Event]


@pytest.fixture
def told() -> Told:
    return []


@pytest.fixture
def listened(make_session: MakeSession, told: Told) -> SchedulesSession:
    """A session that tells the test."""
    return make_session(hooks=[told.append], retry=RetryPolicy(base=0))


def kinds(told: Told) -> list[str]:
    return [type(event).__name__ for event in told]


def only(told: Told, kind: type[Any]) -> Any:
    (event,) = [event for event in told if isinstance(event, kind)]
    return event


async def test_a_wait_is_told_from_its_beginning_to_its_end(
    listened: SchedulesSession, server: FakeSchedules, told: Told
) -> None:
    ref = server.script_operation(TAGGED, not_modified(), DONE)
    waiter = listened.wait_for_operation(*ref)
    assert told == []
    operation = await waiter
    assert kinds(told) == ["WaitBegun", "Polled", "Changed", "Polled", "Polled", "Changed", "WaitEnded"]
    begun, first, change, second, last, _, end = told
    assert isinstance(begun, WaitBegun)
    assert begun.refs == {ref}
    assert isinstance(change, Changed)
    assert first == Polled(ref, change.operation, pause=1.0)
    assert second == Polled(ref, change.operation, is_not_modified=True, pause=1.0)
    assert last == Polled(ref, operation)
    assert isinstance(end, WaitEnded)
    assert (end.begun, end.polls, end.outcomes, end.interruption) == (begun, 3, (operation,), None)
    assert end.seconds == pytest.approx(2, abs=0.5)
    assert await waiter is operation
    assert len(told) == 7


async def test_a_single_look_is_told(listened: SchedulesSession, server: FakeSchedules, told: Told) -> None:
    operation = await listened.get_operation(*server.script_operation(DONE))
    assert told == [Polled(operation.ref, operation)]


async def test_a_look_that_ends_badly_is_told(listened: SchedulesSession, told: Told) -> None:
    with pytest.raises(NotFoundError) as caught:
        await listened.wait_for_operation("no", "such")
    look, end = only(told, Polled), only(told, WaitEnded)
    assert (str(look.outcome), look.pause) == (str(caught.value), None)
    assert look.outcome is not caught.value
    assert (end.lost, end.polls) == (1, 1)
    assert end.outcomes[0] is not caught.value
    assert isinstance(end.outcomes[0], NotFoundError)


async def test_repeats_are_told(listened: SchedulesSession, server: FakeSchedules, told: Told) -> None:
    ref = server.script_operation(fault(500), fault(503), DONE)
    await listened.wait_for_operation(*ref)
    repeats = [event for event in told if isinstance(event, Retried)]
    assert [(event.ref, type(event.error), event.faults, event.pause) for event in repeats] == [
        (ref, ServerError, 1, 0.0),
        (ref, ServerError, 2, 0.0),
    ]
    assert len(repeats) == listened.stats.retried
    assert only(told, WaitEnded).polls == 1


async def test_a_repeat_that_nobody_waits_for_is_not_told(
    make_session: MakeSession, server: FakeSchedules, told: Told
) -> None:
    session = make_session(hooks=[told.append], polling=PollingPolicy(max_retry_after=5))
    with pytest.raises(ServerError):
        await session.wait_for_operation(*server.script_operation(fault(503, retry_after=60)))
    assert kinds(told) == ["WaitBegun", "Throttled", "WaitEnded"]


async def test_refusals_are_told_with_what_is_left_of_the_longest(
    listened: SchedulesSession, server: FakeSchedules, told: Told, clock: FakeClock
) -> None:
    refs = [server.script_operation(throttled(pause), DONE) for pause in (60, 20)]
    await asyncio.gather(*(listened.get_operation(*ref) for ref in refs))
    first, second = (event for event in told if isinstance(event, Throttled))
    assert [first.was_open, second.was_open] == [True, False]
    assert {first.ref, second.ref} == set(refs)
    assert all(isinstance(event.error, RateLimitedError) for event in (first, second))
    assert max(first.pause, second.pause) == pytest.approx(60, abs=0.5)
    assert second.pause >= 20
    assert clock.monotonic() >= 60
    assert listened.stats.throttled == 2


async def test_a_renewed_token_is_told(make_session: MakeSession, server: FakeSchedules, told: Told) -> None:
    credentials = server.credentials()
    session = make_session(auth=credentials, hooks=[told.append])
    ref = server.start_operation(duration=100)
    await session.get_operation(*ref)
    server.reject_token(await credentials.get_token())
    await asyncio.gather(session.get_operation(*ref), session.get_operation(*ref))
    assert [event for event in told if isinstance(event, TokenRenewed)] == [TokenRenewed(was_rejected=True)]


async def test_a_token_renewed_in_time_is_told(make_session: MakeSession, server: FakeSchedules, told: Told) -> None:
    tokens = iter(["test-token-0", "test-token", "test-token"])
    server.token = "test-token-0"

    async def give() -> str:
        server.token = next(tokens)
        return server.token

    session = make_session(auth=give, hooks=[told.append])
    ref = server.start_operation(duration=100)
    for _ in range(3):
        await session.get_operation(*ref)
    assert kinds(told) == ["Polled", "TokenRenewed", "Polled", "Polled"]
    assert only(told, TokenRenewed) == TokenRenewed(was_rejected=False)


async def test_a_group_is_one_wait(listened: SchedulesSession, server: FakeSchedules, told: Told) -> None:
    failing = server.script_operation(operation_answer("Failed"))
    refs = [server.script_operation(TAGGED, DONE), failing, OperationRef("no", "such"), server.script_operation(TAGGED)]
    with pytest.raises(OperationGroupError):
        await listened.wait_for_operations([*refs, *refs], timeout=5.5)
    begun, end = only(told, WaitBegun), only(told, WaitEnded)
    assert begun.refs == set(refs)
    assert (end.begun, end.succeeded, end.failed, end.lost, end.left) == (begun, 1, 1, 2, 0)
    assert end.polls == len([event for event in told if isinstance(event, Polled)])
    assert [type(outcome) for outcome in end.outcomes[2:]] == [NotFoundError, OperationTimeoutError]


async def test_each_wait_counts_the_looks_since_it_began(
    listened: SchedulesSession, server: FakeSchedules, told: Told, clock: FakeClock
) -> None:
    ref = server.start_operation(duration=10)
    early = asyncio.create_task(listened.wait_for_operation(*ref))
    await clock.sleep(4.5)
    await asyncio.gather(early, listened.wait_for_operation(*ref))
    polls = len([event for event in told if isinstance(event, Polled)])
    assert sorted(event.polls for event in told if isinstance(event, WaitEnded)) == [polls - 5, polls]


async def test_a_wait_that_is_left_ends_and_may_begin_again(
    listened: SchedulesSession, server: FakeSchedules, told: Told
) -> None:
    waiter = listened.wait_for_operation(*server.start_operation(duration=10))
    async for _ in waiter:
        break
    await turns(3)
    assert str(told[-1]).startswith(f"wait for {waiter.ref} ended: left after")
    task = asyncio.create_task(waiter)
    await turns(2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await turns(1)
    assert isinstance(told[-1], WaitEnded)
    await waiter
    ends = [event for event in told if isinstance(event, WaitEnded)]
    assert [end.left for end in ends] == [1, 1, 0]
    assert [end.begun for end in ends] == [event for event in told if isinstance(event, WaitBegun)]


async def test_a_wait_that_is_closed_ends_once(listened: SchedulesSession, server: FakeSchedules, told: Told) -> None:
    waiter = listened.wait_for_operation(*server.start_operation(duration=10))
    changes = aiter(waiter)
    await anext(changes)
    await waiter.aclose()
    del changes
    await turns(3)
    end = only(told, WaitEnded)
    assert (end.left, end.interruption, told[-1]) == (1, None, end)


async def test_a_closed_session_ends_its_waits(listened: SchedulesSession, server: FakeSchedules, told: Told) -> None:
    refs = [server.start_operation(duration=100) for _ in range(2)]
    task = asyncio.create_task(listened.wait_for_operations(refs))
    while len([event for event in told if isinstance(event, Polled)]) < 2:
        await turns(1)
    await listened.close()
    with pytest.raises(SessionClosedError):
        await task
    end = only(told, WaitEnded)
    assert (end.left, end.polls) == (2, 2)
    assert isinstance(end.interruption, SessionClosedError)


async def test_what_has_ended_is_not_waited_for(listened: SchedulesSession, told: Told) -> None:
    assert await listened.wait_for_operations([]) == []
    assert told == []


def test_nothing_is_told_once_the_event_loop_is_closed(told: Told) -> None:
    left: list[Any] = []

    async def leave_open() -> None:
        async with FakeSchedules() as server, aiohttp.ClientSession() as http:
            session = SchedulesSession(server.token, base_url=server.url, http=http, hooks=[told.append])
            left.append(aiter(session.wait_for_operation(*server.script_operation(TAGGED))))
            await anext(left[0])

    asyncio.run(leave_open())
    left.clear()
    assert kinds(told) == ["WaitBegun", "Polled", "Changed"]


async def test_a_hook_that_raises_disturbs_nobody_and_is_logged_once(
    make_session: MakeSession, server: FakeSchedules, told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    failures = iter([KeyError("first"), asyncio.CancelledError(), *[ValueError("later")] * 100])

    def failing(_: Event) -> None:
        raise next(failures)

    session = make_session(hooks=[failing, told.append])
    await session.wait_for_operation(*server.script_operation(TAGGED, not_modified(), DONE))
    assert len(told) == 7
    (record,) = [one for one in caplog.records if one.name == LOGGER and one.levelno >= logging.ERROR]
    assert "KeyError: 'first'" in caplog.text
    assert "failing" in record.getMessage()


async def test_a_hook_may_use_the_session(
    make_session: MakeSession, server: FakeSchedules, clock: FakeClock, told: Told
) -> None:
    """It may begin waits and end them in the midst of everything, even where tasks begin eagerly."""
    tasks: list[asyncio.Task[Any]] = []
    factory: Callable[..., Any] | None = getattr(asyncio, "eager_task_factory", None)
    asyncio.get_running_loop().set_task_factory(factory)
    ref = server.script_operation(TAGGED, throttled(5), fault(500), not_modified(), DONE)

    def busy(event: Event) -> None:
        told.append(event)
        if not isinstance(event, WaitBegun) and len(tasks) < 20:
            tasks.append(asyncio.create_task(session.wait_for_operation(*ref)))
            tasks[len(tasks) // 3].cancel()

    session = make_session(hooks=[busy], retry=RetryPolicy(base=1))
    await session.wait_for_operation(*ref)
    while under_way := [task for task in tasks if not task.done()]:  # an end may begin another
        await asyncio.wait(under_way)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert len(results) == 20
    assert [result for result in results if isinstance(result, Exception)] == []
    assert kinds(told).count("WaitBegun") == kinds(told).count("WaitEnded")
    asyncio.get_running_loop().set_task_factory(None)
    await turns(2)
    assert clock.sleeping == 0


async def test_the_log_tells_of_waits_at_info(
    session: SchedulesSession, server: FakeSchedules, caplog: pytest.LogCaptureFixture
) -> None:
    ref = server.script_operation(throttled(60), *[TAGGED] * 3, operation_answer("Failed", percent_complete=60))
    with caplog.at_level(logging.INFO, LOGGER), pytest.raises(OperationFailedError):
        await session.wait_for_operation(*ref)
    lines = [record.getMessage() for record in caplog.records if record.name == LOGGER]
    assert [re.split(r" \(| after ", line)[0] for line in lines] == [
        f"wait for {ref} began",
        "throttled: no request for 60.0 s, by RateLimitedError('429 RateLimitExceeded",
        f"wait for {ref} ended: Failed at 60 %",
    ]
    levels = [record.levelname for record in caplog.records if record.name == LOGGER]
    assert levels == ["INFO", "WARNING", "INFO"]


async def test_the_log_tells_of_looks_at_debug(
    session: SchedulesSession, server: FakeSchedules, caplog: pytest.LogCaptureFixture
) -> None:
    ref = server.script_operation(TAGGED, not_modified(), fault(500), DONE)
    with caplog.at_level(logging.DEBUG, LOGGER):
        await session.wait_for_operation(*ref)
    lines = [(record.levelname, record.getMessage()) for record in caplog.records if record.name == LOGGER]
    assert [level for level, _ in lines] == ["INFO", "DEBUG", "DEBUG", "DEBUG", "DEBUG", "INFO"]
    assert [line for _, line in lines[1:3]] == [
        f"look at {ref}: Started at 40 %; next look in 1.0 s",
        f"look at {ref}: not modified, Started at 40 %; next look in 1.0 s",
    ]
    assert lines[3][1].startswith(f"look at {ref}: ServerError('500 Internal Server Error'), fault 1; again in ")
    assert lines[4][1] == f"look at {ref}: Succeeded at 100 %"


async def test_where_nobody_hears_nothing_is_formatted(
    session: SchedulesSession, server: FakeSchedules, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, LOGGER):
        await session.wait_for_operation(*server.script_operation(TAGGED, throttled(5), DONE))
    assert [record for record in caplog.records if record.name == LOGGER] == []


class AsyncHook:
    async def __call__(self, event: Event) -> None:
        """Be awaited by nobody."""


async def async_hook(event: Event) -> None:
    """Be awaited by nobody."""


@pytest.mark.parametrize(
    ("hook", "text"), [(5, "callable, not int"), (async_hook, "not be async"), (AsyncHook(), "not be async")]
)
def test_what_cannot_be_a_hook_is_refused_at_once(hook: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        SchedulesSession("token", hooks=[hook])


async def test_hooks_may_come_out_of_a_generator(make_session: MakeSession, server: FakeSchedules, told: Told) -> None:
    session = make_session(hooks=(hook for hook in [told.append, told.append]))
    await session.get_operation(*server.script_operation(DONE))
    await session.get_operation(*server.script_operation(DONE))
    assert kinds(told) == ["Polled"] * 4


async def test_hook_is_called_outside_the_engine(make_session: MakeSession, server: FakeSchedules) -> None:
    """In order, by the event loop: no frame of the session's own work is below it."""
    files: set[str] = set()
    events: list[Event] = []

    def note(event: Event) -> None:
        events.append(event)
        files.update(frame.filename for frame in inspect.stack())

    session = make_session(hooks=[note], retry=RetryPolicy(base=0))
    ref = server.script_operation(TAGGED, throttled(1), fault(500), not_modified(), DONE)
    await session.wait_for_operation(*ref)
    assert {Path(file).name for file in files if "schedules_async/_" in file} == {"_hooks.py"}
    expected = ["WaitBegun", "Polled", "Changed", "Throttled", "Retried", "Polled", "Polled", "Changed", "WaitEnded"]
    assert kinds(events) == expected


USER: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")


async def test_hook_runs_in_the_context_of_the_event(make_session: MakeSession, server: FakeSchedules) -> None:
    """The beginning and the end of a wait concern its caller; polls are the session's."""
    users: list[tuple[str, str]] = []
    session = make_session(hooks=[lambda event: users.append((type(event).__name__, USER.get()))])

    async def wait() -> None:
        USER.set("somebody")
        await session.wait_for_operation(*server.script_operation(DONE))

    await asyncio.create_task(wait())
    assert users[0] == ("WaitBegun", "somebody")
    assert users[1:3] == [("Polled", "nobody"), ("Changed", "nobody")]


@define(eq=False)
class Application:
    """A session, and the waiters, iterations and tasks that a hook does something to."""

    session: SchedulesSession
    ref: OperationRef
    waiters: list[OperationWaiter] = field(factory=list)
    iterations: list[Any] = field(factory=list)
    tasks: list[asyncio.Task[Any]] = field(factory=list)

    def wait(self) -> OperationWaiter:
        self.waiters.append(self.session.wait_for_operation(*self.ref, timeout=900))
        return self.waiters[-1]

    async def iterate(self) -> None:
        """Begin an iteration that only `iterations` holds."""
        changes = aiter(self.wait())
        self.iterations.append(changes)
        await anext(changes, None)

    def close_coroutines(self) -> None:
        for waiter in self.waiters:
            waiter.close()

    def begin(self, *works: Coroutine[Any, Any, object]) -> None:
        self.tasks += [asyncio.create_task(work) for work in works]


def fail(_: Application) -> None:
    raise LookupError("a hook failed")


ACTIONS: dict[str, Callable[[Application], object]] = {
    "drops iterations": lambda app: app.iterations.clear(),
    "closes iterations": lambda app: app.begin(*(changes.aclose() for changes in app.iterations)),
    "closes waiters": lambda app: app.begin(*(waiter.aclose() for waiter in app.waiters[1:])),
    "closes coroutines": lambda app: app.close_coroutines(),
    "closes the session": lambda app: app.begin(app.session.close()),
    "cancels tasks": lambda app: [task.cancel() for task in app.tasks[1:]],
    "begins a wait": lambda app: app.begin(app.wait()),
    "fetches": lambda app: app.begin(app.session.get_operation(*app.ref)),
    "fails": fail,
}


async def act_at(point: int, action: Callable[[Application], object]) -> int:
    """Act once, in the hook of the event of that number; return the count of events."""
    clock, events = FakeClock(), list[Event]()

    def act(event: Event) -> None:
        events.append(event)
        if len(events) == point:
            action(app)

    async with FakeSchedules(clock=clock) as server:
        session = server.session(hooks=[act], polling=PollingPolicy.fixed(1), rate_limits=UNLIMITED)
        ref = server.script_operation(TAGGED, throttled(5), fault(500), operation_answer("Started"), DONE)
        app = Application(session, ref)
        app.begin(app.wait(), app.iterate(), session.get_operation(*ref), app.wait(), app.iterate())
        async with asyncio.timeout(20):  # real seconds
            first, *_ = await asyncio.gather(*app.tasks, return_exceptions=True)
            while under_way := [task for task in app.tasks if not task.done()]:
                await asyncio.wait(under_way)
        assert isinstance(first, SessionClosedError) or (isinstance(first, Operation) and first.is_succeeded)
        app.iterations.clear()
        await session.close()
        await turns(3)
        assert clock.sleeping == 0
        assert kinds(events).count("WaitBegun") == kinds(events).count("WaitEnded")
    return len(events)


@pytest.mark.parametrize("action", ACTIONS)
async def test_hook_may_do_anything_at_any_event(action: str) -> None:
    """At the first event, the second, and so on; where tasks can begin eagerly, they do so in the hook."""
    asyncio.get_running_loop().set_task_factory(getattr(asyncio, "eager_task_factory", None))
    count = await act_at(0, fail)
    for point in range(1, count + 1):
        await act_at(point, ACTIONS[action])
    assert count > 10


async def test_hook_that_drops_an_iteration_spares_others(make_session: MakeSession, server: FakeSchedules) -> None:
    """Those that the same 429 ends, after the wait whose end was the reason."""
    rows: list[Any] = []

    def clear(event: Event) -> None:
        if isinstance(event, WaitEnded):
            rows.clear()

    session = make_session(hooks=[clear], polling=PollingPolicy(max_retry_after=60))
    ref = server.script_operation(TAGGED, throttled(300))
    first = asyncio.create_task(session.wait_for_operation(*ref))
    await turns(2)
    rows.append(aiter(session.wait_for_operation(*ref)))
    await anext(rows[0])
    third = asyncio.create_task(session.wait_for_operation(*ref))
    results = await asyncio.gather(first, third, return_exceptions=True)
    assert [type(result) for result in results] == [RateLimitedError, RateLimitedError]
