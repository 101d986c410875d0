"""One run for all callers: it survives whoever leaves, and ends with the last one to be cancelled."""

import asyncio
import contextvars
import gc
from typing import Any

import pytest
from event_loops import turns

from schedules_async._auth.single_flight import SingleFlight
from schedules_async.errors import AuthenticationError


class Work:
    """Counts its runs; each one ends with `outcome`."""

    def __init__(self) -> None:
        self.started = 0
        self.ended: list[str] = []
        self.outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def run(self) -> str:
        self.started += 1
        try:
            result = await self.outcome
        except asyncio.CancelledError:
            await turns(3)  # as closing connections takes some
            self.ended.append("cancelled")
            raise
        self.ended.append("done")
        return result


@pytest.fixture
async def work() -> Work:
    return Work()


async def join(flight: SingleFlight[str], count: int) -> list[asyncio.Task[str]]:
    tasks = [asyncio.create_task(flight.result()) for _ in range(count)]
    await turns(3)
    return tasks


async def test_callers_that_wait_together_share_one_run(work: Work) -> None:
    flight = SingleFlight(work.run)
    tasks = await join(flight, 50)
    work.outcome.set_result("result")
    assert await asyncio.gather(*tasks) == ["result"] * 50
    assert work.started == 1
    assert await flight.result() == "result"
    assert work.started == 2


@pytest.mark.parametrize("left", [[0], [1], [0, 1, 2, 3]])
async def test_cancelled_callers_cost_the_others_nothing(work: Work, left: list[int]) -> None:
    tasks = await join(SingleFlight(work.run), 5)
    for number in left:
        tasks[number].cancel()
    await turns(5)
    work.outcome.set_result("result")
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result).__name__ for result in results].count("str") == 5 - len(left)
    assert (work.started, work.ended) == (1, ["done"])


async def test_last_cancelled_caller_ends_and_awaits_the_run(work: Work) -> None:
    flight = SingleFlight(work.run)
    tasks = await join(flight, 3)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert work.ended == ["cancelled"]
    assert all(task.cancelled() for task in tasks)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    work.outcome = asyncio.get_running_loop().create_future()
    work.outcome.set_result("result")
    assert await flight.result() == "result"


async def test_caller_during_cancellation_starts_another_run(work: Work) -> None:
    flight = SingleFlight(work.run)
    [task] = await join(flight, 1)
    task.cancel()
    await turns(2)
    work.outcome = asyncio.get_running_loop().create_future()
    work.outcome.set_result("result")
    assert await flight.result() == "result"
    assert work.started == 2
    await asyncio.wait({task})


async def test_impatient_caller_leaves_the_run_going(work: Work) -> None:
    """Nor does a caller that joins the run later, and is cancelled, end it."""
    flight = SingleFlight(work.run)
    with pytest.raises(TimeoutError):
        await flight.result(patience=0.0)
    [late] = await join(flight, 1)
    late.cancel()
    await asyncio.wait({late})
    assert (work.started, work.ended) == (1, [])
    work.outcome.set_result("result")
    assert await flight.result() == "result"
    assert (work.started, work.ended) == (1, ["done"])


async def test_close_ends_a_run_without_callers(work: Work) -> None:
    flight = SingleFlight(work.run)
    await flight.aclose()
    with pytest.raises(TimeoutError):
        await flight.result(patience=0.0)
    await flight.aclose()
    assert work.ended == ["cancelled"]
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await flight.aclose()
    work.outcome = asyncio.get_running_loop().create_future()
    work.outcome.set_result("result")
    assert await flight.result() == "result"


async def test_close_spares_a_run_with_callers(work: Work) -> None:
    flight = SingleFlight(work.run)
    tasks = await join(flight, 2)
    await flight.aclose()
    work.outcome.set_result("result")
    assert await asyncio.gather(*tasks) == ["result"] * 2
    assert work.started == 1


async def test_run_cancelled_from_outside_is_restarted(work: Work) -> None:
    """Nobody asked the callers to stop, so none of them ends cancelled."""
    before = asyncio.all_tasks()
    flight = SingleFlight(work.run)
    callers = await join(flight, 2)
    work.outcome = asyncio.get_running_loop().create_future()
    for task in asyncio.all_tasks() - before - set(callers):
        task.cancel()
    await turns(8)
    work.outcome.set_result("result")
    assert await asyncio.gather(*callers) == ["result"] * 2
    assert (work.started, work.ended) == (2, ["cancelled", "done"])


async def test_run_cancelled_each_time_is_an_error() -> None:
    started = []

    async def run() -> str:
        started.append(asyncio.current_task())
        raise asyncio.CancelledError

    results = await asyncio.gather(*(SingleFlight(run).result() for _ in range(2)), return_exceptions=True)
    assert [type(result) for result in results] == [AuthenticationError] * 2
    assert len(started) == 6


async def test_patience_counts_across_restarts(work: Work) -> None:
    async def run() -> str:
        if not work.started:
            work.started += 1
            raise asyncio.CancelledError
        return await work.run()

    flight = SingleFlight(run)
    with pytest.raises(TimeoutError):
        await flight.result(patience=0.001)
    assert work.started == 2
    await flight.aclose()


async def test_run_has_its_own_context_and_is_lazy() -> None:
    """Whatever the first caller has set, and whatever the loop's task factory does."""
    variable = contextvars.ContextVar("variable", default="unset")
    turns_taken = []

    async def run() -> str:
        turns_taken.append("run")
        return variable.get()

    context = contextvars.copy_context()
    flight, other = SingleFlight(run), SingleFlight(run, context)
    variable.set("the caller's")
    call = flight.result()
    first = asyncio.create_task(call)
    turns_taken.append("caller")
    assert await first == "unset"
    context.run(variable.set, "given")
    assert await other.result() == "given"
    assert turns_taken == ["caller", "run", "run"]


async def test_runs_share_no_context_variables() -> None:
    """What one run sets is seen neither by a later run nor by one at the same time."""
    variable = contextvars.ContextVar("variable", default=0)

    async def run(number: int) -> int:
        before = variable.get()
        variable.set(number)
        await turns(2)
        return before

    flight = SingleFlight(run)
    results = [await each for each in [asyncio.create_task(flight.result(number)) for number in (1, 2)]]
    assert results == [0, 0]
    assert await flight.result(3) == 0


async def test_error_is_copied_for_each_caller(work: Work, complaints: list[dict[str, Any]]) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    flight = SingleFlight(work.run)
    tasks = await join(flight, 3)
    work.outcome.set_exception(KeyError("vault"))
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [KeyError] * 3
    assert len({id(result) for result in results}) == 3
    work.outcome = asyncio.get_running_loop().create_future()
    [left] = await join(flight, 1)
    work.outcome.set_exception(KeyError("vault"))
    left.cancel()  # in the turn in which the run fails
    await asyncio.wait({left})
    del results, tasks, left
    gc.collect()


def test_another_event_loop_has_its_own_run() -> None:
    """Even where the first loop was left in the middle of one."""
    loops: list[asyncio.AbstractEventLoop] = []

    async def hang_on_the_first_loop() -> str:
        loops.append(asyncio.get_running_loop())
        return "result" if len(set(loops)) > 1 else await loops[0].create_future()

    flight = SingleFlight(hang_on_the_first_loop)
    loop = asyncio.new_event_loop()
    left = loop.create_task(flight.result())
    loop.run_until_complete(turns(5))
    assert [asyncio.run(flight.result()) for _ in range(2)] == ["result"] * 2
    left.cancel()
    loop.run_until_complete(asyncio.wait({left}))
    loop.close()


async def test_dropped_caller_awaits_nothing(work: Work) -> None:
    """As the event loop's end drops it."""
    caller = SingleFlight(work.run).result()
    caller.send(None)
    await turns(3)
    caller.close()
    work.outcome.set_result("result")
    await turns(3)
    assert work.ended == ["done"]
