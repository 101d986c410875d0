"""The workflow that waits for operations: one activity for each, whose attempts never grow the history."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

from temporalio import exceptions, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, RetryState, is_cancelled_exception

from schedules_async import Operation
from schedules_async.temporal.activities import OperationActivities
from schedules_async.temporal.memory import Memory
from schedules_async.temporal.payloads import Carried, OperationWait, Outcome, WaitProgress, WaitRequest
from schedules_async.temporal.standing import memories, percents

Value = TypeVar("Value")
_RETRY = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=5))
_NO_BOUND = timedelta(days=3650)
_ONE_MINUTE = timedelta(minutes=1)


@workflow.defn(sandboxed=False)  # it asks for no time and no randomness; a sandbox would import aiohttp for every run
class WaitForOperations:
    """Waits for operations; gives an outcome for each, in the order asked, whatever becomes of the others.

    The queries `progress` and `percent_complete` tell how far they are. When the engine finds the history long,
    a new run goes on with what is not over: each wait carries its snapshot and its looks along.
    """

    def __init__(self) -> None:
        self._request = WaitRequest([])
        self._waits: dict[str, tuple[str, str]] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._memories: dict[str, str] = {}
        self._percents: dict[str, float] = {}
        self._deadline: float | None = None
        self._failure: Outcome | None = None

    @workflow.run
    async def run(self, request: WaitRequest) -> list[Outcome]:
        """Wait for all of them."""
        self._begin(request)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._wait(wait)) for wait in self._waits if wait not in self._outcomes]
            tasks.append(group.create_task(self._keep_count()))
            await workflow.wait_condition(self._is_over)
            if self._has_more:
                self._memories |= await _ask(memories)
            for task in tasks:
                task.cancel()
        if self._failure is not None:
            raise _to_error(self._failure)
        if self._has_more:
            workflow.continue_as_new(replace(request, carried=self._to_carry()))
        by_pair = {pair: self._outcomes[wait] for wait, pair in self._waits.items()}
        return [by_pair[pair] for pair in request.refs]

    @workflow.query
    def progress(self) -> WaitProgress:
        """Tell how far each of them was when they were last counted."""
        waits = {pair: wait for wait, pair in self._waits.items()}
        percents = [self._percent(waits[pair]) for pair in self._request.refs]
        return WaitProgress(len(self._waits), len(self._outcomes), percents)

    @workflow.query
    def percent_complete(self) -> float:
        """Give the mean over all operations; an ended one counts 100."""
        return self.progress().percent_complete

    def _begin(self, request: WaitRequest) -> None:
        self._request, carried = request, request.carried
        self._waits = {str(number): pair for number, pair in enumerate(dict.fromkeys(request.refs))}
        if carried is not None:
            self._outcomes, self._memories, self._deadline = carried.outcomes, carried.memories, carried.deadline
            known = {wait: Memory.from_json(text).operation for wait, text in carried.memories.items()}
            self._percents = {wait: 100 * seen.fraction for wait, seen in known.items() if seen is not None}
        elif request.timeout is not None:
            self._deadline = workflow.now().timestamp() + request.timeout

    def _to_carry(self) -> Carried:
        left = {wait: text for wait, text in self._memories.items() if wait not in self._outcomes}
        return Carried(self._outcomes, left, self._deadline)

    def _is_over(self) -> bool:
        """Tell whether this run is: nothing is left to wait for, or another run is to go on."""
        is_full = workflow.info().is_continue_as_new_suggested()
        return is_full or self._failure is not None or len(self._outcomes) == len(self._waits)

    @property
    def _has_more(self) -> bool:
        return self._failure is None and len(self._outcomes) < len(self._waits)

    def _percent(self, wait: str) -> float:
        return 100.0 if wait in self._outcomes else self._percents.get(wait, 0.0)

    async def _keep_count(self) -> None:
        """Count all of them every now and then, at the price of one event however many they are."""
        while True:
            await workflow.sleep(self._request.progress_interval)
            self._percents |= await _ask(percents)

    async def _wait(self, wait: str) -> None:
        """Wait for one; a wait that another run is to go on with has no outcome."""
        schedule_id, operation_id = self._waits[wait]
        try:
            outcome = Outcome(schedule_id, operation_id, operation=await self._execute(wait))
        except ActivityError as error:
            if self._is_over() and _was_given_up(error):
                return
            outcome = _lost(schedule_id, operation_id, error)
        self._outcomes[wait] = outcome
        if self._request.stop_at_failure and not outcome.is_succeeded and self._failure is None:
            self._failure = outcome

    async def _execute(self, wait: str) -> str:
        request = self._request
        left = None if self._deadline is None else max(self._deadline - workflow.now().timestamp(), 0.001)
        return await workflow.execute_activity_method(
            OperationActivities.poll if request.single_polls else OperationActivities.wait,
            OperationWait(*self._waits[wait], self._memories.get(wait, "")),
            activity_id=wait,
            start_to_close_timeout=_NO_BOUND,
            schedule_to_close_timeout=None if left is None else timedelta(seconds=left),
            heartbeat_timeout=timedelta(seconds=request.heartbeat_timeout),
            retry_policy=_RETRY,
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )


async def _ask(standing: Callable[[], Awaitable[dict[str, Value]]]) -> dict[str, Value]:
    """Ask how all waits stand, as often as it takes: without an answer this was cancelled."""
    try:
        return await workflow.execute_local_activity(standing, start_to_close_timeout=_ONE_MINUTE)
    except ActivityError as error:
        raise asyncio.CancelledError from error


def _was_given_up(error: ActivityError) -> bool:
    """Tell whether the wait was only cancelled, in an attempt or before another one."""
    return is_cancelled_exception(error) or error.retry_state is RetryState.CANCEL_REQUESTED


def _lost(schedule_id: str, operation_id: str, error: ActivityError) -> Outcome:
    """Say why there is no final snapshot."""
    cause = error.cause
    if isinstance(cause, exceptions.TimeoutError) or error.retry_state is RetryState.TIMEOUT:
        return Outcome(schedule_id, operation_id, error="OperationTimeoutError", message="not ended within the timeout")
    if isinstance(cause, ApplicationError):
        return Outcome(schedule_id, operation_id, error=cause.type or "", message=cause.message)
    return Outcome(schedule_id, operation_id, error="SchedulesError", message=str(cause or error))


def _to_error(failure: Outcome) -> ApplicationError:
    """Fail the workflow with the operation that was lost, or that failed."""
    value = failure.value()
    said = value.failure_description or "no reason given" if isinstance(value, Operation) else str(value)
    return ApplicationError(
        f"{failure.schedule_id}/{failure.operation_id}: {said}",
        type=failure.error or "OperationFailedError",
        non_retryable=True,
    )
