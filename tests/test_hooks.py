"""Hooks and the log: which events they get, in which order, and that they disturb nobody."""

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
    AuthenticationError,
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
from schedules_async._hooks import Hooks
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
from schedules_async.testing import Answer, FakeClock, FakeSchedules, fault, not_modified, operation_answer, throttled

DONE = operation_answer("Succeeded", percent_complete=100)
TAGGED = operation_answer("Started", percent_complete=40, etag='"E1"')
LOGGER = "schedules_async"

Events = list[Event]


@pytest.fixture
def events() -> Events:
    return []


@pytest.fixture
def observed(make_session: MakeSession, events: Events) -> SchedulesSession:
    """A session whose events the test gets."""
    return make_session(hooks=[events.append], retry=RetryPolicy(base=0))


def kinds(events: Events) -> list[str]:
    return [type(event).__name__ for event in events]


def only(events: Events, kind: type[Any]) -> Any:
    (event,) = [event for event in events if isinstance(event, kind)]
    return event


async def test_wait_emits_events_from_beginning_to_end(
    observed: SchedulesSession, server: FakeSchedules, events: Events
) -> None:
    ref = server.script_operation(TAGGED, not_modified(), DONE)
    waiter = observed.wait_for_operation(*ref)
    assert events == []
    operation = await waiter
    assert kinds(events) == ["WaitBegun", "Polled", "Changed", "Polled", "Polled", "Changed", "WaitEnded"]
    begun, first, change, second, last, _, end = events
    assert isinstance(begun, WaitBegun)
    assert begun.refs == {ref}
    assert isinstance(change, Changed)
    assert first == Polled(ref, change.operation, interval=1.0)
    assert second == Polled(ref, change.operation, is_not_modified=True, interval=1.0)
    assert last == Polled(ref, operation)
    assert isinstance(end, WaitEnded)
    assert (end.begun, end.polls, end.outcomes, end.interruption) == (begun, 3, (operation,), None)
    assert end.seconds == pytest.approx(2, abs=0.5)
    assert await waiter is operation
    assert len(events) == 7


async def test_single_fetch_emits_polled(observed: SchedulesSession, server: FakeSchedules, events: Events) -> None:
    operation = await observed.get_operation(*server.script_operation(DONE))
    assert events == [Polled(operation.ref, operation)]


async def test_poll_that_fails_emits_its_error(observed: SchedulesSession, events: Events) -> None:
    with pytest.raises(NotFoundError) as caught:
        await observed.wait_for_operation("no", "such")
    poll, end = only(events, Polled), only(events, WaitEnded)
    assert (str(poll.outcome), poll.interval) == (str(caught.value), None)
    assert poll.outcome is not caught.value
    assert (end.lost, end.polls) == (1, 1)
    assert end.outcomes[0] is not caught.value
    assert isinstance(end.outcomes[0], NotFoundError)


async def test_retries_are_emitted_and_are_no_polls(
    observed: SchedulesSession, server: FakeSchedules, events: Events
) -> None:
    ref = server.script_operation(fault(500), fault(503), DONE)
    await observed.wait_for_operation(*ref)
    retries = [event for event in events if isinstance(event, Retried)]
    assert [(event.ref, type(event.error), event.attempt, event.delay) for event in retries] == [
        (ref, ServerError, 1, 0.0),
        (ref, ServerError, 2, 0.0),
    ]
    assert len(retries) == observed.stats.retried
    assert only(events, WaitEnded).polls == 1


async def test_attempt_emits_its_seconds(observed: SchedulesSession, server: FakeSchedules, events: Events) -> None:
    """Also one that fails; not the time in the queue, nor that of an attempt before it."""
    ref = server.script_operation(
        operation_answer("Started", delay=2), fault(500, delay=3), not_modified(delay=4), operation_answer("Succeeded")
    )
    await observed.wait_for_operation(*ref)
    with pytest.raises(NotFoundError):
        await observed.get_operation(server.script_operation(Answer(404, delay=5)))
    seconds = [(type(event), event.seconds) for event in events if isinstance(event, Polled | Retried)]
    assert seconds == [(Polled, 2), (Retried, 3), (Polled, 0), (Polled, 5)]


async def test_poll_without_a_request_has_no_seconds(make_session: MakeSession, events: Events) -> None:
    def fail() -> str:
        raise LookupError

    with pytest.raises(AuthenticationError):
        await make_session(auth=fail, hooks=[events.append]).get_operation("s", "o")
    assert only(events, Polled).seconds == 0


async def test_retry_that_nobody_waits_for_is_not_emitted(
    make_session: MakeSession, server: FakeSchedules, events: Events
) -> None:
    session = make_session(hooks=[events.append], polling=PollingPolicy(max_retry_after=5))
    with pytest.raises(ServerError):
        await session.wait_for_operation(*server.script_operation(fault(503, retry_after=60)))
    assert kinds(events) == ["WaitBegun", "Throttled", "WaitEnded"]


async def test_throttled_has_the_rest_of_the_longest_pause(
    observed: SchedulesSession, server: FakeSchedules, events: Events, clock: FakeClock
) -> None:
    refs = [server.script_operation(throttled(pause), DONE) for pause in (60, 20)]
    await asyncio.gather(*(observed.get_operation(*ref) for ref in refs))
    first, second = (event for event in events if isinstance(event, Throttled))
    assert [first.was_open, second.was_open] == [True, False]
    assert {first.ref, second.ref} == set(refs)
    assert all(isinstance(event.error, RateLimitedError) for event in (first, second))
    assert max(first.closed_for, second.closed_for) == pytest.approx(60, abs=0.5)
    assert second.closed_for >= 20
    assert clock.monotonic() >= 60
    assert observed.stats.throttled == 2


async def test_token_renewed_after_401_is_emitted_once(
    make_session: MakeSession, server: FakeSchedules, events: Events
) -> None:
    credentials = server.credentials()
    session = make_session(auth=credentials, hooks=[events.append])
    ref = server.start_operation(duration=100)
    await session.get_operation(*ref)
    server.reject_token(await credentials.get_token())
    await asyncio.gather(session.get_operation(*ref), session.get_operation(*ref))
    assert [event for event in events if isinstance(event, TokenRenewed)] == [TokenRenewed(was_rejected=True)]


async def test_another_token_of_the_function_is_emitted(
    make_session: MakeSession, server: FakeSchedules, events: Events
) -> None:
    tokens = iter(["test-token-0", "test-token", "test-token"])
    server.token = "test-token-0"

    async def get_token() -> str:
        server.token = next(tokens)
        return server.token

    session = make_session(auth=get_token, hooks=[events.append])
    ref = server.start_operation(duration=100)
    for _ in range(3):
        await session.get_operation(*ref)
    assert kinds(events) == ["Polled", "TokenRenewed", "Polled", "Polled"]
    assert only(events, TokenRenewed) == TokenRenewed(was_rejected=False)


async def test_group_emits_one_beginning_and_end(
    observed: SchedulesSession, server: FakeSchedules, events: Events
) -> None:
    failing = server.script_operation(operation_answer("Failed"))
    refs = [server.script_operation(TAGGED, DONE), failing, OperationRef("no", "such"), server.script_operation(TAGGED)]
    with pytest.raises(OperationGroupError):
        await observed.wait_for_operations([*refs, *refs], timeout=5.5)
    begun, end = only(events, WaitBegun), only(events, WaitEnded)
    assert begun.refs == set(refs)
    assert (end.begun, end.succeeded, end.failed, end.lost, end.left) == (begun, 1, 1, 2, 0)
    assert end.polls == len([event for event in events if isinstance(event, Polled)])
    assert [type(outcome) for outcome in end.outcomes[2:]] == [NotFoundError, OperationTimeoutError]


async def test_wait_counts_polls_since_its_beginning(
    observed: SchedulesSession, server: FakeSchedules, events: Events, clock: FakeClock
) -> None:
    ref = server.start_operation(duration=10)
    early = asyncio.create_task(observed.wait_for_operation(*ref))
    await clock.sleep(4.5)
    await asyncio.gather(early, observed.wait_for_operation(*ref))
    polls = len([event for event in events if isinstance(event, Polled)])
    assert sorted(event.polls for event in events if isinstance(event, WaitEnded)) == [polls - 5, polls]


async def test_wait_that_was_left_ends_and_begins_again(
    observed: SchedulesSession, server: FakeSchedules, events: Events
) -> None:
    waiter = observed.wait_for_operation(*server.start_operation(duration=10))
    async for _ in waiter:
        break
    await turns(3)
    assert str(events[-1]).startswith(f"wait for {waiter.ref} ended: left after")
    task = asyncio.create_task(waiter)
    await turns(2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await turns(1)
    assert isinstance(events[-1], WaitEnded)
    await waiter
    ends = [event for event in events if isinstance(event, WaitEnded)]
    assert [end.left for end in ends] == [1, 1, 0]
    assert [end.begun for end in ends] == [event for event in events if isinstance(event, WaitBegun)]


async def test_closed_wait_ends_once(observed: SchedulesSession, server: FakeSchedules, events: Events) -> None:
    waiter = observed.wait_for_operation(*server.start_operation(duration=10))
    changes = aiter(waiter)
    await anext(changes)
    await waiter.aclose()
    del changes
    await turns(3)
    end = only(events, WaitEnded)
    assert (end.left, end.interruption, events[-1]) == (1, None, end)


async def test_closed_session_emits_the_end_of_waits(
    observed: SchedulesSession, server: FakeSchedules, events: Events
) -> None:
    refs = [server.start_operation(duration=100) for _ in range(2)]
    task = asyncio.create_task(observed.wait_for_operations(refs))
    while len([event for event in events if isinstance(event, Polled)]) < 2:
        await turns(1)
    await observed.close()
    with pytest.raises(SessionClosedError):
        await task
    end = only(events, WaitEnded)
    assert (end.left, end.polls) == (2, 2)
    assert isinstance(end.interruption, SessionClosedError)


async def test_wait_for_nothing_emits_nothing(observed: SchedulesSession, events: Events) -> None:
    assert await observed.wait_for_operations([]) == []
    assert events == []


def test_closed_event_loop_ends_the_events(events: Events) -> None:
    left: list[Any] = []

    async def leave_open() -> None:
        async with FakeSchedules() as server, aiohttp.ClientSession() as http:
            session = SchedulesSession(server.token, base_url=server.url, http=http, hooks=[events.append])
            left.append(aiter(session.wait_for_operation(*server.script_operation(TAGGED))))
            await anext(left[0])

    asyncio.run(leave_open())
    left.clear()
    assert kinds(events) == ["WaitBegun", "Polled", "Changed"]


async def test_hook_that_raises_is_logged_once(
    make_session: MakeSession, server: FakeSchedules, events: Events, caplog: pytest.LogCaptureFixture
) -> None:
    failures = iter([KeyError("first"), asyncio.CancelledError(), *[ValueError("later")] * 100])

    def failing(_: Event) -> None:
        raise next(failures)

    session = make_session(hooks=[failing, events.append])
    await session.wait_for_operation(*server.script_operation(TAGGED, not_modified(), DONE))
    assert len(events) == 7
    (record,) = [one for one in caplog.records if one.name == LOGGER and one.levelno >= logging.ERROR]
    assert "KeyError: 'first'" in caplog.text
    assert "failing" in record.getMessage()


async def test_hook_may_begin_and_cancel_waits(
    make_session: MakeSession, server: FakeSchedules, clock: FakeClock, events: Events
) -> None:
    """It may begin waits and end them in the midst of everything, even where tasks begin eagerly."""
    tasks: list[asyncio.Task[Any]] = []
    factory: Callable[..., Any] | None = getattr(asyncio, "eager_task_factory", None)
    asyncio.get_running_loop().set_task_factory(factory)
    ref = server.script_operation(TAGGED, throttled(5), fault(500), not_modified(), DONE)

    def busy(event: Event) -> None:
        events.append(event)
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
    assert kinds(events).count("WaitBegun") == kinds(events).count("WaitEnded")
    asyncio.get_running_loop().set_task_factory(None)
    await turns(2)
    assert clock.sleeping == 0


async def test_waits_are_logged_at_info(
    session: SchedulesSession, server: FakeSchedules, caplog: pytest.LogCaptureFixture
) -> None:
    ref = server.script_operation(throttled(60), *[TAGGED] * 3, operation_answer("Failed", percent_complete=60))
    with caplog.at_level(logging.INFO, LOGGER), pytest.raises(OperationFailedError):
        await session.wait_for_operation(*ref)
    lines = [record.getMessage() for record in caplog.records if record.name == LOGGER]
    assert [re.split(r" \(| after ", line)[0] for line in lines] == [
        f"wait for {ref} began",
        "throttled for 60.0 s by RateLimitedError('429 RateLimitExceeded",
        f"wait for {ref} ended: Failed at 60 %",
    ]
    levels = [record.levelname for record in caplog.records if record.name == LOGGER]
    assert levels == ["INFO", "WARNING", "INFO"]


async def test_polls_are_logged_at_debug_outages_above(
    session: SchedulesSession, server: FakeSchedules, caplog: pytest.LogCaptureFixture
) -> None:
    ref = server.script_operation(TAGGED, not_modified(), fault(500), DONE)
    with caplog.at_level(logging.DEBUG, LOGGER):
        await session.wait_for_operation(*ref)
    lines = [(record.levelname, record.getMessage()) for record in caplog.records if record.name == LOGGER]
    levels = [level for level, _ in lines]
    assert levels == ["INFO", "DEBUG", "DEBUG", "WARNING", "INFO", "DEBUG", "INFO"]
    assert [line for _, line in lines[1:3]] == [
        f"poll of {ref}: Started at 40 %; next poll in 1.0 s",
        f"poll of {ref}: not modified, Started at 40 %; next poll in 1.0 s",
    ]
    assert lines[3][1].startswith(f"retry 1 of {ref} in ")
    assert lines[3][1].endswith(" s: ServerError('500 Internal Server Error')")
    assert lines[4][1].startswith("the service answers again after ")
    assert lines[5][1] == f"poll of {ref}: Succeeded at 100 %"


async def test_disabled_levels_are_not_logged(
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
def test_unusable_hook_raises_type_error(hook: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        SchedulesSession("token", hooks=[hook])


async def test_hooks_may_come_out_of_a_generator(
    make_session: MakeSession, server: FakeSchedules, events: Events
) -> None:
    session = make_session(hooks=(hook for hook in [events.append, events.append]))
    await session.get_operation(*server.script_operation(DONE))
    await session.get_operation(*server.script_operation(DONE))
    assert kinds(events) == ["Polled"] * 4


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
    outage = ["Retried", "OutageEnded"]
    expected = ["WaitBegun", "Polled", "Changed", "Throttled", *outage, "Polled", "Polled", "Changed", "WaitEnded"]
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


async def test_end_is_delivered_before_the_final_snapshot(
    make_session: MakeSession, server: FakeSchedules, events: Events
) -> None:
    """All events of one step are delivered before a caller goes on."""
    changes = aiter(make_session(hooks=[events.append]).wait_for_operation(*server.start_operation(duration=5)))
    while not (await anext(changes)).is_done:
        assert isinstance(events[-1], Changed)
    assert isinstance(events[-1], WaitEnded)


async def test_hook_that_delivers_events_gets_each_once(events: Events) -> None:
    """As one that closes the session in an eager task."""
    hooks = Hooks([lambda _: hooks.deliver(), events.append])
    refs = [OperationRef("schedule", str(number)) for number in range(3)]
    for ref in refs:
        hooks.emit(WaitBegun(frozenset([ref])))
    hooks.deliver()
    await turns(2)
    assert sorted((ref for event in events if isinstance(event, WaitBegun) for ref in event.refs), key=str) == refs


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
async def test_hook_may_end_the_program(error: type[BaseException], caplog: pytest.LogCaptureFixture) -> None:
    def stop(_: Event) -> None:
        raise error

    hooks = Hooks([stop])
    hooks.emit(WaitBegun(frozenset()))
    with pytest.raises(error):
        hooks.deliver()
    assert "a hook raised" not in caplog.text
    await turns(2)


async def test_failing_log_keeps_no_event_from_hooks(
    make_session: MakeSession, server: FakeSchedules, events: Events
) -> None:
    """A filter raises, as a broken handler of the caller's does."""

    def fail(_: logging.LogRecord) -> bool:
        raise OSError("no space left")

    logger = logging.getLogger("schedules_async")
    logger.addFilter(fail)
    try:
        session = make_session(hooks=[events.append])
        await session.wait_for_operation(server.script_operation(throttled(1), operation_answer("Succeeded")))
        await session.close()
    finally:
        logger.removeFilter(fail)
    assert {WaitBegun, Throttled, Polled, WaitEnded} <= {type(event) for event in events}
