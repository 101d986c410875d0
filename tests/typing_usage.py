"""How users type: this file is checked by mypy alone, never run."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

from schedules_async import (
    PRODUCTION,
    ClientCredentials,
    Clock,
    Operation,
    OperationRef,
    OperationStatus,
    OperationWaiter,
    PollingPolicy,
    RateLimit,
    SchedulesError,
    SchedulesSession,
    SessionStats,
    TimeRemaining,
    TokenProvider,
)
from schedules_async.progress import RichProgress, TqdmProgress
from schedules_async.testing import FakeClock


class Provider:
    async def get_token(self, *, rejected: str | None = None) -> str:
        return "new" if rejected else "token"


async def give_token() -> str:
    return "token"


async def use(session: SchedulesSession, ref: OperationRef) -> tuple[object, ...]:
    operation: Operation = await session.get_operation(*ref)
    waiter: OperationWaiter = session.wait_for_operation(*ref, timeout=5, stall_timeout=timedelta(minutes=1))
    final: Operation = await waiter
    task: asyncio.Task[Operation] = asyncio.create_task(session.wait_for_operation(*ref))
    results: tuple[Operation, Operation] = await asyncio.gather(waiter, task)
    in_time: Operation = await asyncio.wait_for(session.wait_for_operation(*ref, check=False), 5)
    changes: AsyncIterator[Operation] = aiter(waiter)
    async for change in waiter:
        status: OperationStatus = change.status
        assert status, change.fraction
    remaining: TimeRemaining | None = waiter.time_remaining
    stats: SessionStats = session.stats
    return operation, final, results, in_time, changes, remaining, stats.detection_delay.mean


def make() -> list[SchedulesSession]:
    provider: TokenProvider = Provider()
    credentials: TokenProvider = ClientCredentials("id", "secret", token_url=PRODUCTION.token_url, scope="one two")
    clock: Clock = FakeClock()
    return [
        SchedulesSession("token", polling=PollingPolicy.EAGER, clock=clock),
        SchedulesSession(give_token, rate_limits=[RateLimit(5, timedelta(seconds=1))]),
        SchedulesSession(credentials, base_url=PRODUCTION.api_url),
        SchedulesSession(provider, request_timeout=timedelta(seconds=5), snapshots={}),
    ]


async def show(session: SchedulesSession, refs: list[OperationRef]) -> tuple[object, ...]:
    progress = RichProgress(names={refs[0]: "import"}, session=session)
    one: Operation = await progress.track(session.wait_for_operation(*refs[0]))
    many: list[Operation] = await TqdmProgress(names=str).track(session.wait_for_operations(refs))
    mixed: list[Operation | SchedulesError] = await progress.track(session.wait_for_operations(refs, check=False))
    outcomes = [member.outcome for member in session.wait_for_operations(refs).members]
    return one, many, mixed, outcomes
