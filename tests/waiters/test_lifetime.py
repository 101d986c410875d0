"""What waits hold and leave: garbage collected anywhere, tasks cancelled by others, contexts, reference cycles."""

import asyncio
import contextvars
import gc
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from event_loops import turns
from sessions import EVERY_SECOND, MakeSession

from schedules_async import (
    Operation,
    OperationRef,
    OperationWaiter,
    RetryPolicy,
    SchedulesError,
    SchedulesSession,
    TransportError,
)
from schedules_async._throttling.request_queue import Turn
from schedules_async.events import Event, WaitEnded
from schedules_async.testing import Answer, FakeClock, FakeSchedules, fault, operation_answer, stall, throttled

STARTED, DONE = operation_answer("Started"), operation_answer("Succeeded")


class Row:
    """Part of a reference cycle, so that only the garbage collector drops it, and what it holds."""

    def __init__(self, held: object) -> None:
        self.held, self.itself = held, self


class Frame:
    """Stands in the frame of a caller, and is part of no cycle."""


@contextmanager
def collecting_at_every_allocation() -> Iterator[None]:
    """Run full collections in the midst of everything; what exists before is left out for good: they stay quick."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(1, 1, 1)
    try:
        yield
    finally:
        gc.set_threshold(*before)


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def iterate(waiter: OperationWaiter) -> None:
    async for _ in waiter:
        pass


async def begin_and_drop(waiter: OperationWaiter) -> None:
    """Begin an iteration; then only the garbage collector can find it."""
    changes = aiter(waiter)
    Row(changes)
    await anext(changes, None)


async def begin_and_drop_many(waiter: OperationWaiter) -> None:
    for _ in range(20):
        await begin_and_drop(waiter)


async def test_iterations_collected_amid_everything_disturb_nobody(
    session: SchedulesSession, server: FakeSchedules, complaints: list[dict[str, Any]]
) -> None:
    """The collector runs at each allocation, so also while the session notifies, plans and removes subscribers."""
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    ref = server.start_operation(duration=12)
    waiter = session.wait_for_operation(*ref)
    with collecting_at_every_allocation():
        uses = [asyncio.create_task(iterate(waiter)) for _ in range(10)]
        droppers = [begin_and_drop_many(session.wait_for_operation(*ref)) for _ in range(3)]
        await asyncio.gather(*uses, *droppers, begin_and_drop_many(waiter))
    assert (await waiter).is_succeeded


@pytest.mark.usefixtures("no_collector")
async def test_iteration_collected_in_another_thread_ends_its_polling(
    make_session: MakeSession, server: FakeSchedules
) -> None:
    """Its end is notified in the thread of the event loop, and other waits go on."""
    threads: list[threading.Thread] = []
    asyncio.get_running_loop().set_debug(enabled=True)

    def note_thread(event: Event) -> None:
        threads.extend([threading.current_thread()] * isinstance(event, WaitEnded))

    session = make_session(hooks=[note_thread])
    other = asyncio.create_task(session.wait_for_operation(*server.start_operation(duration=5)))
    dropped = server.start_operation(duration=1000)
    await begin_and_drop(session.wait_for_operation(*dropped, timeout=500))
    await asyncio.to_thread(gc.collect)
    await turns(5)
    count = len(server.requests_for(dropped))
    assert threads == [threading.main_thread()]
    assert (await other).is_succeeded
    assert len(server.requests_for(dropped)) == count


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("is_in_another_thread", [False, True])
async def test_dropped_coroutine_ends_its_polling(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock, is_in_another_thread: bool
) -> None:
    ref = server.start_operation(duration=1000)
    coroutine, generator = session.wait_for_operation(*ref), session.wait_for_operation(*ref).__await__()
    coroutine.send(None)
    generator.send(None)
    Row((coroutine, generator))
    del coroutine, generator
    await clock.sleep(2.5)
    assert len(server.requests) == 3
    await (asyncio.to_thread(gc.collect) if is_in_another_thread else asyncio.sleep(0, gc.collect()))
    await turns(5)  # a slow thread lets the clock go on meanwhile, to another poll
    count = len(server.requests)
    await turns(200)
    assert clock.sleeping == 0
    assert len(server.requests) == count


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("is_in_another_thread", [False, True])
async def test_dropped_call_ends_its_fetch(
    session: SchedulesSession, server: FakeSchedules, is_in_another_thread: bool
) -> None:
    """That of a coroutine which somebody drives by hand; the loop's debug mode reports calls from a wrong thread."""
    asyncio.get_running_loop().set_debug(enabled=True)
    coroutine = session.get_operation(*server.script_operation(stall()))
    coroutine.send(None)
    Row(coroutine)
    del coroutine
    while not server.requests:
        await turns(1)
    assert session.in_flight == 1
    await (asyncio.to_thread(gc.collect) if is_in_another_thread else asyncio.sleep(0, gc.collect()))
    while session.in_flight:
        await turns(1)
    assert (await session.get_operation(*server.script_operation(DONE))).is_succeeded


@pytest.mark.usefixtures("no_collector")
async def test_iteration_dropped_after_its_loop_is_harmless() -> None:
    """The handover to an event loop that is closed is not possible, nor needed."""

    async def leave_open() -> list[object]:
        async with FakeSchedules() as server:
            session = server.session()
            changes = aiter(session.wait_for_operation(*server.script_operation(STARTED)))
            await anext(changes)
            await session.close()
            return [changes]

    left = await asyncio.to_thread(asyncio.run, leave_open())
    left.clear()
    gc.collect()


async def test_rejected_task_leaves_other_tasks_alone(session: SchedulesSession, server: FakeSchedules) -> None:
    """asyncio closes the coroutine that it does not take, which is the same object."""
    waiter = session.wait_for_operation(*server.script_operation(STARTED, DONE))
    task, changes = asyncio.create_task(waiter), aiter(waiter)
    await anext(changes)
    waiter.close()
    assert (await task).is_succeeded
    assert (await anext(changes)).is_succeeded
    assert (await waiter).is_succeeded


def sweep(*callers: "asyncio.Future[Any]") -> None:
    """Cancel all tasks but the callers' and the server's, as frameworks and notebooks do."""
    for task in asyncio.all_tasks():
        if task not in callers and "/schedules_async/_" in repr(task):
            task.cancel()


async def test_sweep_of_all_tasks_reaches_no_caller() -> None:
    """At each turn of the event loop: the engine's tasks come back, whatever they were doing."""
    clock, was_over, point = FakeClock(), False, 0
    async with FakeSchedules(clock=clock) as server:
        while not was_over:
            ref = server.script_operation(STARTED, throttled(1), fault(500), STARTED, DONE)
            async with server.session(polling=EVERY_SECOND, retry=RetryPolicy(base=1)) as session:
                uses: list[Coroutine[Any, Any, Operation]] = [session.wait_for_operation(*ref, timeout=600)]
                if point:
                    uses.append(session.get_operation(*ref))
                changes = asyncio.create_task(iterate(session.wait_for_operation(*ref)))
                under_way = [asyncio.ensure_future(use) for use in uses]
                await turns(point)
                was_over = all(use.done() for use in under_way)
                for _ in range(1 + point % 3):
                    sweep(changes, *under_way)
                    await turns(2)
                results = await asyncio.gather(*under_way)
                await changes
                assert results[0].is_succeeded
            point += 1 if point < 60 else 41
    assert point > 60


async def test_timeout_outlives_a_sweep(session: SchedulesSession, server: FakeSchedules, clock: FakeClock) -> None:
    wait = asyncio.create_task(session.wait_for_operation(*server.start_operation(duration=1000), timeout=20))
    await clock.sleep(5)
    sweep(wait)
    with pytest.raises(TimeoutError):
        await wait
    assert clock.monotonic() == 20


async def test_poll_cancelled_again_and_again_is_transport_error(
    make_session: MakeSession, server: FakeSchedules
) -> None:
    """A request that somebody cancels again and again uses up its attempts; the caller was not cancelled."""
    session = make_session(retry=RetryPolicy(attempts=3, base=0))
    call = asyncio.create_task(session.get_operation(*server.script_operation(operation_answer("Started", delay=1000))))
    while not call.done():
        for task in asyncio.all_tasks():
            if "_polling" in repr(task):
                task.cancel()
        await asyncio.sleep(0)
    assert isinstance(call.exception(), TransportError)
    assert session.stats.retried == 2


CALLER: contextvars.ContextVar[object] = contextvars.ContextVar("caller", default="session")


async def test_engine_runs_in_the_context_of_the_session(make_session: MakeSession, server: FakeSchedules) -> None:
    """Neither in that of the first caller nor in that of the caller that a poll is made for."""
    callers: list[object] = []

    async def get_token() -> str:
        callers.append(CALLER.get())
        return server.token

    session = make_session(auth=get_token)
    ref = server.script_operation(STARTED, throttled(5), fault(500), STARTED, STARTED, DONE)

    async def call(name: str) -> None:
        CALLER.set(name)
        await asyncio.gather(session.wait_for_operation(*ref), session.get_operation(*ref))

    await asyncio.gather(call("first"), call("second"))
    assert set(callers) == {"session"}
    assert len(callers) == len(server.requests) == 6


@pytest.mark.usefixtures("no_collector")
async def test_context_of_a_former_caller_is_freed(
    make_session: MakeSession, server: FakeSchedules, clock: FakeClock
) -> None:
    session = make_session(hooks=[lambda _: None])
    ref = server.start_operation(duration=100)

    async def call() -> "weakref.ref[Frame]":
        mine = Frame()
        CALLER.set(mine)
        async for _ in session.wait_for_operation(*ref):
            return weakref.ref(mine)
        raise AssertionError

    freed = await asyncio.create_task(call())
    other = asyncio.create_task(session.wait_for_operation(*ref))
    await clock.sleep(5)
    assert freed() is None
    assert (await other).is_succeeded


async def closed(session: SchedulesSession, ref: OperationRef) -> None:
    waiter = session.wait_for_operation(*ref)
    await waiter.aclose()
    await waiter


FAILURES: dict[str, Callable[[SchedulesSession, OperationRef], Awaitable[object]]] = {
    "get": lambda session, ref: session.get_operation(*ref),
    "wait": lambda session, ref: session.wait_for_operation(*ref),
    "group": lambda session, ref: session.wait_for_operations([ref, ("no", "such")]),
    "iteration": lambda session, ref: iterate(session.wait_for_operation(*ref)),
    "timeout": lambda session, ref: session.wait_for_operation(*ref, timeout=0),
    "stall": lambda session, ref: session.wait_for_operation(*ref, stall_timeout=0, polling=EVERY_SECOND),
    "closed": closed,
    "task": lambda session, ref: asyncio.create_task(session.wait_for_operation(*ref)),
    "gather": lambda session, ref: asyncio.gather(session.wait_for_operations([ref])),
}
ANSWERS: dict[str, list[Answer]] = {
    "not found": [Answer(404)],
    "failed": [operation_answer("Failed")],
    "malformed": [Answer(200)],
    "throttled": [throttled(5000)],
    "unchanged": [STARTED],
}


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("form", FAILURES)
async def test_failed_call_is_part_of_no_reference_cycle(
    make_session: MakeSession, server: FakeSchedules, form: str, answer: str
) -> None:
    """What stands in the frame of a caller is freed when the caller has returned and dropped the error."""
    session = make_session()
    ref = server.script_operation(*ANSWERS[answer], *[operation_answer("Failed")] * (answer == "unchanged"))

    async def call() -> "weakref.ref[Frame]":
        mine = Frame()
        with suppress(SchedulesError):
            await FAILURES[form](session, ref)
        return weakref.ref(mine)

    freed = await call()
    await turns(3)
    assert freed() is None


@pytest.mark.parametrize("count", [1, 1000])
async def test_cancelled_fetches_leave_the_queue(
    make_session: MakeSession, server: FakeSchedules, clock: FakeClock, count: int
) -> None:
    """Each ends long before the request that it wanted could leave; those of two waits stay."""
    session = make_session()
    ref = server.script_operation(throttled(3000), DONE)
    long = [asyncio.create_task(session.wait_for_operation(*one)) for one in (ref, server.script_operation(DONE))]
    await clock.sleep(1)
    for number in range(count):
        short = asyncio.create_task(session.get_operation("s", str(number)))
        await turns(2)
        short.cancel()
        await asyncio.wait({short})
    assert count_turns(session) < 10
    assert all(operation.is_succeeded for operation in await asyncio.gather(*long))


async def test_fetches_beside_a_long_wait_leave_nothing(
    make_session: MakeSession, server: FakeSchedules, clock: FakeClock
) -> None:
    session = make_session()
    ref = server.start_operation(duration=100_000)
    wait = asyncio.create_task(session.wait_for_operation(*ref, timeout=50_000))
    await clock.sleep(0.5)
    for _ in range(200):
        await session.get_operation(*ref)
    assert count_turns(session) < 10
    wait.cancel()


def count_turns(session: SchedulesSession) -> int:
    gc.collect()
    queue = session._enter().queue
    return sum(type(one) is Turn and one._queue is queue for one in gc.get_objects())
