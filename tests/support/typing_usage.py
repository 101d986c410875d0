"""How users type: this file is checked by mypy alone, never run."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

from schedules_async import (
    PRODUCTION,
    ClientCredentials,
    Clock,
    Operation,
    OperationGroupError,
    OperationGroupWaiter,
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
from schedules_async.events import Event, Hook, Polled
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


class Counting:
    polls = 0

    def __call__(self, event: Event) -> None:
        self.polls += isinstance(event, Polled)


async def use_many(session: SchedulesSession, refs: list[OperationRef], url: str) -> tuple[object, ...]:
    group: OperationGroupWaiter = session.wait_for_operations([*refs, ("schedule", "operation"), url], timeout=5)
    finals: list[Operation] = await group
    task: asyncio.Task[list[Operation]] = asyncio.create_task(group)
    results: list[Operation | SchedulesError] = await session.wait_for_operations(refs, check=False)
    succeeded: list[Operation] = [one for one in results if isinstance(one, Operation) and one.is_succeeded]
    lost: list[OperationRef | None] = [one.ref for one in results if isinstance(one, SchedulesError)]
    try:
        async for change in session.wait_for_operations(iter(refs), check=bool(lost)):
            fraction: float = change.fraction
            assert fraction <= 1, group.latest[change.ref].status
    except OperationGroupError as error:
        return tuple(error.exceptions), error.operations[refs[0]].is_done
    latest: dict[OperationRef, Operation] = group.latest
    remaining: TimeRemaining | None = group.time_remaining
    return finals, task, succeeded, latest, remaining, group.percent_complete, group.refs


async def go_on(session: SchedulesSession, checkpoint: str) -> list[Operation | SchedulesError]:
    resumed = session.resume(checkpoint, polling=PollingPolicy.FRUGAL)
    text: str = resumed.checkpoint()
    async for change in session.resume(text):
        assert change.ref
    if isinstance(resumed, OperationWaiter):
        final: Operation = await resumed
        return [final]
    finals: list[Operation | SchedulesError] = await resumed
    return finals


def make() -> list[SchedulesSession]:
    provider: TokenProvider = Provider()
    credentials: TokenProvider = ClientCredentials("id", "secret", token_url=PRODUCTION.token_url, scope="one two")
    clock: Clock = FakeClock()
    events: list[Event] = []
    hooks: list[Hook] = [Counting(), events.append, print]
    return [
        SchedulesSession("token", polling=PollingPolicy.EAGER, clock=clock),
        SchedulesSession(give_token, rate_limits=[RateLimit(5, timedelta(seconds=1))]),
        SchedulesSession(credentials, base_url=PRODUCTION.api_url),
        SchedulesSession(provider, request_timeout=timedelta(seconds=5), snapshots={}, hooks=hooks),
    ]


async def show(session: SchedulesSession, refs: list[OperationRef]) -> tuple[object, ...]:
    progress = RichProgress(names={refs[0]: "import"}, session=session)
    one: Operation = await progress.track(session.wait_for_operation(*refs[0]))
    many: list[Operation] = await TqdmProgress(names=str).track(session.wait_for_operations(refs))
    mixed: list[Operation | SchedulesError] = await progress.track(session.wait_for_operations(refs, check=False))
    outcomes = [member.outcome for member in session.wait_for_operations(refs).members]
    return one, many, mixed, outcomes
