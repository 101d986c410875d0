"""Many uses of a few operations, with everything that can go wrong, seeded: each ends right, and nothing is left."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest
from conftest import UNLIMITED, turns

from schedules_async import (
    COMMUNITY_TIER,
    Operation,
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
        good = operation_answer("Started", percent=10 * step, etag=f'"{step}"', is_conditional=True, delay=delay)
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


def choose_use(chance: random.Random, session: SchedulesSession, ref: OperationRef) -> Awaitable[Operation | None]:
    timeout = chance.choice([0, 1, 20, 300])
    kinds: tuple[Callable[[], Awaitable[Operation | None]], ...] = (
        lambda: session.get_operation(*ref),
        lambda: session.wait_for_operation(*ref, timeout=timeout, stall_timeout=chance.choice([None, 30])),
        lambda: iterate(session, ref, chance.randint(1, 9)),
        lambda: asyncio.wait_for(session.wait_for_operation(*ref, timeout=400), 30),
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
            tasks.append(asyncio.ensure_future(choose_use(chance, session, chance.choice(refs))))
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
        assert max(len([one for one in times if time - limit.per < one <= time]) for time in times) <= limit.calls


def is_right(result: object) -> bool:
    kinds = (Operation, SchedulesError, asyncio.CancelledError, TimeoutError)
    return result is None or isinstance(result, kinds)
