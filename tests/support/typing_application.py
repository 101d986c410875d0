"""How applications use the package; this file is checked by mypy and pyright alone, never run."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, HTTPException, Request
from temporalio.client import Client

from schedules_async import (
    PRODUCTION,
    CheckpointFile,
    GroupWaiter,
    NotFoundError,
    Operation,
    OperationFailedError,
    OperationGroupError,
    OperationGroupWaiter,
    OperationProgress,
    OperationRef,
    OperationStatus,
    OperationTimeoutError,
    OperationWaiter,
    PollingPolicy,
    RateLimit,
    RateLimitedError,
    ResponseError,
    RetryPolicy,
    SchedulesError,
    SchedulesSession,
    TransportError,
)
from schedules_async.events import Event, Throttled, WaitEnded
from schedules_async.progress import RichProgress
from schedules_async.temporal import WaitForOperations, WaitRequest, schedules_worker
from schedules_async.testing import FakeClock, FakeSchedules, operation_answer, throttled

logger = logging.getLogger(__name__)


# A service.


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
    async with SchedulesSession(read_token, base_url=PRODUCTION, hooks=[log_event]) as session:
        app.state.session = session
        yield


app = FastAPI(lifespan=lifespan)


def read_token() -> str:
    return Path("token").read_text(encoding="utf-8").strip()


def log_event(event: Event) -> None:
    match event:
        case Throttled(closed_for=seconds):
            logger.warning("throttled for %.0f s", seconds)
        case WaitEnded(seconds=seconds, polls=polls):
            logger.info("ended after %.0f s and %d polls", seconds, polls)
        case _:
            logger.debug("%s", event)


def find_session(request: Request) -> SchedulesSession:
    session = request.app.state.session
    assert isinstance(session, SchedulesSession)
    return session


Session = Annotated[SchedulesSession, Depends(find_session)]


@app.get("/operations/{schedule_id}/{operation_id}")
async def read_operation(schedule_id: str, operation_id: str, session: Session) -> dict[str, Any]:
    try:
        operation = await session.get_operation(schedule_id, operation_id)
    except NotFoundError as error:
        raise HTTPException(404, error.message or str(error)) from error
    except RateLimitedError as error:
        headers = {"Retry-After": f"{error.retry_after or 1:.0f}", **error.limits}
        raise HTTPException(503, str(error), headers) from error
    except ResponseError as error:
        details: list[str | None] = [detail.message for detail in error.details]
        raise HTTPException(502, {"status": error.status, "code": error.code, "details": details}) from error
    except TransportError as error:
        raise HTTPException(504, str(error)) from error
    return operation.to_dict()


@app.get("/result")
async def read_result(ref: str, session: Session, seconds: float = 30) -> str:
    try:
        operation = await session.wait_for_operation(OperationRef.parse(ref), timeout=seconds)
    except OperationFailedError as error:
        return error.operation.failure_description or "failed" if error.operation else "failed"
    except OperationTimeoutError as error:
        percent = 0.0 if error.operation is None else error.operation.percent_complete
        return f"{percent:.0f} %, {error.__cause__}"
    return str(operation)


# A batch.

POLLING = PollingPolicy(cost=1, min_interval=timedelta(seconds=2))
SNAPSHOT = Operation("operation", "schedule", OperationStatus.STARTED, percent_complete=25)


async def run_batch(refs: list[OperationRef]) -> dict[OperationRef, str]:
    retry = RetryPolicy(attempts=3, max_outage=60)
    limits = [RateLimit(100, 60)]
    async with SchedulesSession.from_env(retry=retry, rate_limits=limits, polling=POLLING) as session:
        results = await session.wait_for_operations(refs, check=False, timeout=3600)
    report: dict[OperationRef, str] = {}
    for ref, result in zip(refs, results, strict=True):
        if isinstance(result, SchedulesError):
            report[ref] = f"lost: {result}"
        else:
            report[ref] = result.failure_description or result.status
    return report


async def run_or_explain(session: SchedulesSession, refs: list[OperationRef]) -> list[str]:
    lost: list[str] = []
    try:
        operations = await session.wait_for_operations([(ref.schedule_id, ref.operation_id) for ref in refs])
        return [operation.id for operation in operations]
    except OperationGroupError as error:
        first: Exception = error.errors[refs[0]]
        lost += [str(first), *(f"{ref}: {reason}" for ref, reason in error.errors.items())]
        lost += [operation.raw_status for operation in error.operations.values()]
    return lost


async def run_with_except_star(session: SchedulesSession, refs: list[OperationRef]) -> list[OperationRef | None]:
    lost: list[OperationRef | None] = []
    try:
        await session.wait_for_operations(refs)
    except* OperationFailedError as group:
        lost += [error.ref for error in group.exceptions if isinstance(error, OperationFailedError)]
    except* SchedulesError as group:
        logger.warning("%d others", len(group.exceptions))
    return lost


async def run_side_by_side(session: SchedulesSession, refs: list[OperationRef]) -> float:
    async with asyncio.TaskGroup() as tasks:
        started: list[asyncio.Task[Operation]] = [tasks.create_task(session.wait_for_operation(ref)) for ref in refs]
    first, second = await asyncio.gather(session.get_operation(*refs[0]), session.get_operation(str(refs[1])))
    return sum(task.result().fraction for task in started) + first.fraction + second.fraction


# What survives the process.


async def run_resumable(session: SchedulesSession, refs: list[OperationRef], path: Path) -> list[str]:
    file = CheckpointFile(path)
    saved = file.load()
    waiter = session.wait_for_operations(refs) if saved is None else session.resume(saved)
    async for operation in waiter:
        file.save(waiter)
        logger.info("%s", operation)
    file.remove()
    return describe(waiter)


def describe(waiter: OperationWaiter | GroupWaiter[Operation] | GroupWaiter[Operation | SchedulesError]) -> list[str]:
    members: list[OperationProgress] = list(waiter.members)
    return [f"{member.ref}: {member.latest} {member.time_remaining} {member.outcome}" for member in members]


async def draw(session: SchedulesSession, group: OperationGroupWaiter) -> list[Operation]:
    bars = RichProgress(names={ref: ref.operation_id for ref in group.refs}, session=session)
    return await bars.track(group)


# More than one machine.


async def work(client: Client, refs: list[OperationRef]) -> int:
    async with schedules_worker(client, read_token, task_queue="waits", base_url=PRODUCTION, request_timeout=10):
        request = WaitRequest.of(refs, timeout=3600)
        outcomes = await client.execute_workflow(WaitForOperations.run, request, id="wait", task_queue="waits")
        return sum(outcome.is_succeeded for outcome in outcomes)


# Tests.


@pytest.fixture
async def service(fake_schedules: FakeSchedules) -> FakeSchedules:
    fake_schedules.start_operation(operation_id="import", duration=60, progress="steps")
    return fake_schedules


async def test_waits(service: FakeSchedules, schedules_session: SchedulesSession) -> None:
    ref = service.start_operation(duration=60, fails_with="no licence")
    service.interrupt(throttled(30), operation_answer("Queued", etag='"1"'))
    with pytest.raises(OperationFailedError) as caught:
        await schedules_session.wait_for_operation(ref)
    assert caught.value.operation is not None
    assert caught.value.operation.failure_description == "no licence"
    assert [request.headers.get("If-None-Match") for request in service.requests]


def test_serves_from_a_thread() -> None:
    with FakeSchedules(host="localhost", port=0, prefix="/api", clock=FakeClock()) as server:
        assert server.url.startswith("http://localhost")
