"""One run for all who wait: it survives whoever leaves, and ends with the last."""

import asyncio
import gc
from typing import Any

import pytest
from event_loops import turns

from schedules_async._auth.single_flight import Shared


class Work:
    """Counts its runs; each one ends when it is told to."""

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


async def join(shared: Shared[str], count: int) -> list[asyncio.Task[str]]:
    tasks = [asyncio.create_task(shared.result()) for _ in range(count)]
    await turns(3)
    return tasks


async def test_all_who_wait_share_one_run(work: Work) -> None:
    shared = Shared(work.run)
    tasks = await join(shared, 50)
    work.outcome.set_result("result")
    assert await asyncio.gather(*tasks) == ["result"] * 50
    assert work.started == 1
    assert await shared.result() == "result"
    assert work.started == 2


@pytest.mark.parametrize("left", [[0], [1], [0, 1, 2, 3]])
async def test_who_is_cancelled_costs_the_others_nothing(work: Work, left: list[int]) -> None:
    tasks = await join(Shared(work.run), 5)
    for number in left:
        tasks[number].cancel()
    await turns(5)
    work.outcome.set_result("result")
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result).__name__ for result in results].count("str") == 5 - len(left)
    assert (work.started, work.ended) == (1, ["done"])


async def test_the_last_to_leave_ends_the_run_and_waits_until_it_has(work: Work) -> None:
    shared = Shared(work.run)
    tasks = await join(shared, 3)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert work.ended == ["cancelled"]
    assert all(task.cancelled() for task in tasks)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    work.outcome = asyncio.get_running_loop().create_future()
    work.outcome.set_result("result")
    assert await shared.result() == "result"


async def test_who_comes_while_a_run_is_being_ended_starts_another(work: Work) -> None:
    shared = Shared(work.run)
    [task] = await join(shared, 1)
    task.cancel()
    await turns(2)
    work.outcome = asyncio.get_running_loop().create_future()
    work.outcome.set_result("result")
    assert await shared.result() == "result"
    assert work.started == 2
    await asyncio.wait({task})


async def test_patience_ends_one_wait_and_with_the_last_the_run(work: Work) -> None:
    shared = Shared(work.run)
    [patient] = await join(shared, 1)
    with pytest.raises(TimeoutError):
        await shared.result(0.0)
    assert work.ended == []
    patient.cancel()
    await asyncio.wait({patient})
    assert work.ended == ["cancelled"]
    work.outcome = asyncio.get_running_loop().create_future()
    with pytest.raises(TimeoutError):
        await shared.result(0.0)
    assert work.ended == ["cancelled", "cancelled"]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_an_error_is_everybodys_and_never_unread(work: Work, complaints: list[dict[str, Any]]) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    shared = Shared(work.run)
    tasks = await join(shared, 3)
    work.outcome.set_exception(KeyError("vault"))
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [KeyError] * 3
    work.outcome = asyncio.get_running_loop().create_future()
    [left] = await join(shared, 1)
    work.outcome.set_exception(KeyError("vault"))
    left.cancel()  # in the turn in which the run fails
    await asyncio.wait({left})
    del results, tasks, left
    gc.collect()


def test_another_event_loop_has_a_run_of_its_own() -> None:
    """Even where the first loop was left in the middle of one."""
    loops: list[asyncio.AbstractEventLoop] = []

    async def hang_on_the_first_loop() -> str:
        loops.append(asyncio.get_running_loop())
        return "result" if len(set(loops)) > 1 else await loops[0].create_future()

    shared = Shared(hang_on_the_first_loop)
    loop = asyncio.new_event_loop()
    left = loop.create_task(shared.result())
    loop.run_until_complete(turns(5))
    assert [asyncio.run(shared.result()) for _ in range(2)] == ["result"] * 2
    left.cancel()
    loop.run_until_complete(asyncio.wait({left}))
    loop.close()
