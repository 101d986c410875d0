"""Many uses of a few operations, with everything that can go wrong, seeded: each ends right, and nothing is left."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from event_loops import turns
from sessions import UNLIMITED

from schedules_async import (
    COMMUNITY_TIER,
    Operation,
    OperationGroupError,
    OperationGroupWaiter,
    OperationRef,
    PollingPolicy,
    RateLimit,
    RetryPolicy,
    SchedulesError,
    SchedulesSession,
)
from schedules_async.testing import (
    Answer,
    FakeClock,
    FakeSchedules,
    cut_body,
    fault,
    not_modified,
    operation_answer,
    raw,
    reset,
    throttled,
)

LIMITS = (UNLIMITED, (), COMMUNITY_TIER, (RateLimit(3, 2),), (RateLimit(4, 1), RateLimit(20, 30)))
ROUNDING = 1e-9  # of times that lie exactly one window apart
POLICIES = (PollingPolicy(), PollingPolicy.EAGER, PollingPolicy.fixed(0.3), PollingPolicy(not_found_grace=5))
ODD: tuple[Callable[[float], Answer], ...] = (
    lambda delay: fault(500, delay=delay),
    lambda delay: fault(503, retry_after=2, delay=delay),
    lambda delay: throttled(None, delay=delay),
    lambda delay: throttled(3, delay=delay),
    lambda delay: reset(delay=delay),
    lambda delay: cut_body(delay=delay),
    lambda delay: not_modified('"of another"', delay=delay),
    lambda delay: raw(b"not HTTP\r\n\r\n", delay=delay),
    lambda delay: Answer(404, delay=delay),
    lambda delay: Answer(401, delay=delay),
)


def write_script(chance: random.Random) -> list[Answer]:
    answers = []
    for step in range(chance.randint(1, 8)):
        delay = chance.choice([0.0, 0.0, 0.1, 2.0])
        good = operation_answer(
            "Started", percent_complete=10 * step, etag=f'"{step}"', is_conditional=True, delay=delay
        )
        answers.append(good if chance.random() < 0.6 else chance.choice(ODD)(delay))
    return [*answers, operation_answer(chance.choice(["Succeeded", "Failed"]))]


async def iterate(session: SchedulesSession, ref: OperationRef, most: int) -> Operation | None:
    last = None
    async for operation in session.wait_for_operation(*ref, check=False, timeout=60):
        assert last is None or not last.is_done
        last, most = operation, most - 1
        if most == 0:
            break
    return last


async def wait_briefly(session: SchedulesSession, ref: OperationRef) -> Operation:
    """Wait for 30 real seconds at most; the time of the fake clock passes faster."""
    return await asyncio.wait_for(session.wait_for_operation(*ref, timeout=400), 30)


async def wait_for_group(session: SchedulesSession, refs: list[OperationRef], **options: Any) -> None:
    """Check that each operation is in the result once, or in the error once; then resume from a checkpoint."""
    waiter = session.wait_for_operations(refs, **options)
    try:
        results: Sequence[Operation | Exception] = await waiter
        assert [getattr(result, "ref", None) for result in results] == refs
    except OperationGroupError as error:
        lost = [one.ref for one in error.exceptions if isinstance(one, SchedulesError)]
        succeeded = [ref for ref, operation in error.operations.items() if operation.is_succeeded]
        assert Counter([*lost, *succeeded]) == Counter(set(refs))
    resumed = session.resume(waiter.checkpoint())
    assert isinstance(resumed, OperationGroupWaiter)
    assert resumed.latest == waiter.latest
    resumed.close()


async def iterate_group(session: SchedulesSession, refs: list[OperationRef], pause: float, clock: FakeClock) -> None:
    """See each operation's end once and nothing of it afterwards, however slowly."""
    waiter, ended = session.wait_for_operations(refs, check=False, timeout=60), set()
    async for operation in waiter:
        assert operation.ref not in ended
        ended.update([operation.ref] if operation.is_done else [])
        await clock.sleep(pause)
    results: Sequence[Operation | Exception] = await waiter
    assert ended == {result.ref for result in results if isinstance(result, Operation)}


def choose_use(
    chance: random.Random, session: SchedulesSession, refs: list[OperationRef], clock: FakeClock
) -> Awaitable[Operation | None]:
    timeout, ref, some = (
        chance.choice([0, 1, 20, 300]),
        chance.choice(refs),
        chance.choices(refs, k=chance.randint(0, 5)),
    )
    kinds: tuple[Callable[[], Awaitable[Operation | None]], ...] = (
        lambda: session.get_operation(*ref),
        lambda: wait_for_group(session, some, timeout=timeout, check=chance.random() < 0.5),
        lambda: iterate_group(session, some, chance.choice([0, 0, 5]), clock),
        lambda: session.wait_for_operation(*ref, timeout=timeout, stall_timeout=chance.choice([None, 30])),
        lambda: iterate(session, ref, chance.randint(1, 9)),
        lambda: wait_briefly(session, ref),
    )
    return chance.choice(kinds)()


@pytest.mark.parametrize("seed", range(30))
async def test_every_use_ends_right_and_nothing_is_left(seed: int) -> None:
    chance, clock = random.Random(seed), FakeClock()
    limits = chance.choice(LIMITS)
    async with FakeSchedules(clock=clock, quota=chance.choice([None, 6]), window=5) as server:
        session = server.session(
            rate_limits=limits,
            retry=RetryPolicy(attempts=chance.choice([1, 3, 5])),
            polling=chance.choice(POLICIES),
        )
        refs = [server.script_operation(*write_script(chance)) for _ in range(3)]
        tasks = []
        for _ in range(15):
            tasks.append(asyncio.ensure_future(choose_use(chance, session, refs, clock)))
            await clock.sleep(chance.choice([0, 0, 0.5, 3]))
            if chance.random() < 0.2:
                chance.choice(tasks).cancel()
        if chance.random() < 0.3:
            await session.close()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        await session.close()
        await turns(5)
    assert [result for result in results if not is_right(result)] == []
    assert clock.sleeping == 0
    times = [request.time for request in server.requests]
    for limit in limits:
        assert (
            max(len([one for one in times if time - limit.per + ROUNDING < one <= time]) for time in times)
            <= limit.calls
        )


def is_right(result: object) -> bool:
    kinds = (Operation, SchedulesError, asyncio.CancelledError, TimeoutError)
    return result is None or isinstance(result, kinds)
