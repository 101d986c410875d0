"""The workflow on a real server of Temporal."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import pairwise

import pytest
from temporal_servers import histories, running_worker, start, temporal, until
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowFailureError, WorkflowHistory
from temporalio.exceptions import ActivityError, ApplicationError, CancelledError, RetryState
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Replayer

from schedules_async import (
    NotFoundError,
    Operation,
    OperationRef,
    OperationTimeoutError,
)
from schedules_async.temporal import WaitForOperations, WaitRequest
from schedules_async.temporal.workflows import result_of
from schedules_async.testing import FakeSchedules, operation_answer

pytestmark = pytest.mark.temporal
SHAPES = pytest.mark.parametrize("single_polls", [False, True], ids=["waits", "polls"])


@pytest.fixture
async def engine() -> AsyncIterator[WorkflowEnvironment]:
    async with temporal() as environment:
        yield environment


@pytest.fixture
async def service() -> AsyncIterator[FakeSchedules]:
    async with FakeSchedules() as server:
        yield server


@SHAPES
async def test_outcomes_are_independent_in_request_order(
    engine: WorkflowEnvironment, service: FakeSchedules, single_polls: bool
) -> None:
    good, bad = service.start_operation(duration=0.5), service.start_operation(duration=0.2, fails_with="No room.")
    lost = OperationRef("no", "such")
    async with running_worker(engine.client, service):
        handle = await start(engine.client, WaitRequest.of([good, lost, bad, good], single_polls=single_polls))
        values = [outcome.value() for outcome in await handle.result()]
        first, second, third, fourth = values
        assert isinstance(first, Operation)
        assert isinstance(third, Operation)
        assert (first.ref, first.is_succeeded) == (good, True)
        assert first == fourth
        assert (third.ref, third.failure_description) == (bad, "No room.")
        assert isinstance(second, NotFoundError)
        assert second.ref == lost
        assert await handle.query(WaitForOperations.percent_complete) == 100.0
        progress = await handle.query(WaitForOperations.progress)
        assert (progress.total, progress.ended, progress.percents) == (3, 3, [100.0] * 4)


async def test_empty_request_returns_at_once(engine: WorkflowEnvironment, service: FakeSchedules) -> None:
    async with running_worker(engine.client, service):
        assert await (await start(engine.client, WaitRequest.of([]))).result() == []


@SHAPES
@pytest.mark.parametrize("fault", ["failed", "missing"])
async def test_stop_at_failure_fails_with_first_loss(
    engine: WorkflowEnvironment, service: FakeSchedules, single_polls: bool, fault: str
) -> None:
    bad = service.start_operation(duration=0.3, fails_with="No room.") if fault == "failed" else ("no", "such")
    endless = service.start_operation(duration=3600)
    async with running_worker(engine.client, service):
        request = WaitRequest.of([endless, bad], single_polls=single_polls, stop_at_failure=True, heartbeat_timeout=1)
        with pytest.raises(WorkflowFailureError) as raised:
            await (await start(engine.client, request)).result()
        count = len(service.requests)
    cause = raised.value.cause
    assert isinstance(cause, ApplicationError)
    assert cause.type == ("OperationFailedError" if fault == "failed" else "NotFoundError")
    assert ("No room." in cause.message) == (fault == "failed")
    assert len(service.requests) == count


@SHAPES
async def test_timeout_is_outcome_of_unfinished_operation(
    engine: WorkflowEnvironment, service: FakeSchedules, single_polls: bool
) -> None:
    good, endless = service.start_operation(duration=0.2), service.start_operation(duration=3600)
    async with running_worker(engine.client, service):
        request = WaitRequest.of([endless, good], single_polls=single_polls, timeout=timedelta(seconds=2))
        late, ended = [outcome.value() for outcome in await (await start(engine.client, request)).result()]
    assert isinstance(late, OperationTimeoutError)
    assert late.ref == endless
    assert isinstance(ended, Operation)


@SHAPES
async def test_cancelled_workflow_sends_no_further_requests(
    engine: WorkflowEnvironment, service: FakeSchedules, single_polls: bool
) -> None:
    refs = [service.start_operation(duration=3600) for _ in range(5)]
    async with running_worker(engine.client, service):
        handle = await start(engine.client, WaitRequest.of(refs, single_polls=single_polls, heartbeat_timeout=1.5))
        await until(lambda: all(service.requests_for(ref) for ref in refs))
        await handle.cancel()
        with pytest.raises(WorkflowFailureError) as raised:
            await handle.result()
        count = len(service.requests)
        other = await start(engine.client, WaitRequest.of([service.start_operation(duration=0.6)]))
        await other.result()
    assert sum(len(service.requests_for(ref)) for ref in refs) == count
    assert isinstance(raised.value.cause, CancelledError)
    assert {request.method for request in service.requests} == {"GET"}


@SHAPES
async def test_progress_is_known_before_end(
    engine: WorkflowEnvironment, service: FakeSchedules, single_polls: bool
) -> None:
    refs = [
        service.start_operation(duration=0.1),
        service.script_operation(operation_answer("Started", percent_complete=40.0)),
    ]
    async with running_worker(engine.client, service):
        request = WaitRequest.of(refs, single_polls=single_polls, progress_interval=0.2, heartbeat_timeout=1)
        handle = await start(engine.client, request)
        async with asyncio.timeout(60):
            while await handle.query(WaitForOperations.percent_complete) != 70.0:
                await handle.describe()
        progress = await handle.query(WaitForOperations.progress)
        await handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await handle.result()
    assert (progress.total, progress.ended, progress.percents) == (2, 1, [100.0, 40.0])


@SHAPES
async def test_long_history_continues_in_new_run(service: FakeSchedules, single_polls: bool) -> None:
    """Each operation is polled unconditionally once only, unless the run ends before its heartbeat has arrived.

    None is polled twice at the same time.
    """
    refs = [service.start_operation(duration) for duration in (*(0.5 + number / 6 for number in range(39)), 3600)]
    async with (
        temporal(limit__historyCount__suggestContinueAsNew=100) as engine,
        running_worker(engine.client, service),
    ):
        request = WaitRequest.of(refs, single_polls=single_polls, progress_interval=0.5, heartbeat_timeout=1.5)
        handle = await start(engine.client, request)
        while len(await histories(engine.client, handle)) == 1:
            await handle.describe()
        service.interrupt(*[operation_answer("Succeeded")] * 1000)
        outcomes = await handle.result()
        runs = await histories(engine.client, handle)
        replayer = Replayer(workflows=[WaitForOperations])
        for events in runs:
            await replayer.replay_workflow(WorkflowHistory(handle.id, events))
    assert all(outcome.is_succeeded for outcome in outcomes)
    assert len(runs) > 1
    assert [request.if_none_match for request in service.requests].count(None) < 1.5 * len(refs)
    for ref in refs:
        times = [request.time for request in service.requests_for(ref)]
        assert all(later - sooner > 0.05 for sooner, later in pairwise(times))


async def test_deadline_is_kept_in_new_run(service: FakeSchedules) -> None:
    endless = service.start_operation(duration=3600)
    async with temporal(limit__historyCount__suggestContinueAsNew=10) as engine, running_worker(engine.client, service):
        request = WaitRequest.of([endless], single_polls=True, progress_interval=0.1, timeout=3)
        handle = await start(engine.client, request)
        (outcome,) = await handle.result()
        runs = await histories(engine.client, handle)
        deadlines = [await deadline_of(engine.client, run[0]) for run in runs]
    assert isinstance(outcome.value(), OperationTimeoutError)
    begun = next(event.event_time for event in runs[0] if event.HasField("workflow_task_started_event_attributes"))
    assert len(runs) > 1
    assert deadlines == [None, *[pytest.approx(begun.ToNanoseconds() / 1e9 + 3, rel=0, abs=0.001)] * (len(runs) - 1)]


async def deadline_of(client: Client, started: HistoryEvent) -> float | None:
    """Return the deadline in the argument of a run, from the first event of its history."""
    payloads = started.workflow_execution_started_event_attributes.input.payloads
    (request,) = await client.data_converter.decode(payloads, [WaitRequest])
    assert isinstance(request, WaitRequest)
    return request.deadline


async def test_cancelled_local_activity_cancels_its_caller() -> None:
    """A workflow is seldom cancelled just while one runs."""
    error = ActivityError(
        "cancelled",
        scheduled_event_id=1,
        started_event_id=2,
        identity="worker",
        activity_type="schedules_async.pending_details",
        activity_id="1",
        retry_state=RetryState.CANCEL_REQUESTED,
    )
    running = asyncio.get_running_loop().create_future()
    running.set_exception(error)
    with pytest.raises(asyncio.CancelledError) as caught:
        await result_of(running)
    assert caught.value.__cause__ is error
