"""The workflow that waits for operations, with one activity for each, whose retries do not lengthen the history."""

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

from temporalio import exceptions, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, RetryState, is_cancelled_exception

from schedules_async import Operation
from schedules_async.temporal.activities import OperationActivities, pending_details, pending_percents
from schedules_async.temporal.payloads import OperationWait, Outcome, WaitProgress, WaitRequest, to_percents

Value = TypeVar("Value")
_RETRY = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=5))
_UNLIMITED = timedelta(days=3650)
_ONE_MINUTE = timedelta(minutes=1)


@workflow.defn(sandboxed=False)  # uses no time or randomness of Python; a sandbox would import aiohttp for every run
class WaitForOperations:
    """A workflow that waits for operations and returns an outcome for each, in the order of the request.

    The queries `progress` and `percent_complete` return the progress. When Temporal suggests continuing as new,
    a new run continues the pending waits from their heartbeat details.
    """

    @workflow.init
    def __init__(self, request: WaitRequest) -> None:
        self._request, self._outcomes, self._details = request, request.outcomes, request.details
        self._waits = {pair: str(number) for number, pair in enumerate(dict.fromkeys(request.refs))}
        self._percents = to_percents(request.details)
        self._failure: Outcome | None = None
        self._deadline = request.deadline
        if self._deadline is None and request.timeout is not None:
            self._deadline = workflow.now().timestamp() + request.timeout

    @workflow.run
    async def run(self, request: WaitRequest) -> list[Outcome]:
        """Wait for all operations and return their outcomes."""
        async with asyncio.TaskGroup() as group:
            pending = [pair for pair, wait in self._waits.items() if wait not in self._outcomes]
            tasks = [group.create_task(self._wait(pair)) for pair in pending]
            tasks.append(group.create_task(self._update_progress()))
            await workflow.wait_condition(self._is_run_over)
            if self._is_unfinished:
                running = workflow.execute_local_activity(pending_details, start_to_close_timeout=_ONE_MINUTE)
                self._details |= await result_of(running)
            for task in tasks:
                task.cancel()
        if self._failure is not None:
            raise _to_error(self._failure)
        if self._is_unfinished:
            details = {wait: text for wait, text in self._details.items() if wait not in self._outcomes}
            workflow.continue_as_new(
                replace(request, outcomes=self._outcomes, details=details, deadline=self._deadline)
            )
        return [self._outcomes[self._waits[pair]] for pair in request.refs]

    @workflow.query
    def progress(self) -> WaitProgress:
        """Return the progress of each operation at the last update."""
        percents = self._percents | dict.fromkeys(self._outcomes, 100.0)
        ordered = [percents.get(self._waits[pair], 0.0) for pair in self._request.refs]
        return WaitProgress(len(self._waits), len(self._outcomes), ordered)

    @workflow.query
    def percent_complete(self) -> float:
        """Return the mean over all operations; an ended one counts as 100."""
        return self.progress().percent_complete

    def _is_run_over(self) -> bool:
        return not self._is_unfinished or workflow.info().is_continue_as_new_suggested()

    @property
    def _is_unfinished(self) -> bool:
        return self._failure is None and len(self._outcomes) < len(self._waits)

    async def _update_progress(self) -> None:
        """Update the progress of all operations periodically, each time with one event in the history."""
        while True:
            await workflow.sleep(self._request.progress_interval)
            running = workflow.execute_local_activity(pending_percents, start_to_close_timeout=_ONE_MINUTE)
            self._percents |= await result_of(running)

    async def _wait(self, pair: tuple[str, str]) -> None:
        """Wait for one operation and keep its outcome, unless a new run continues the wait."""
        try:
            outcome = Outcome(*pair, operation=await self._execute(pair))
        except ActivityError as error:
            was_cancelled = is_cancelled_exception(error) or error.retry_state is RetryState.CANCEL_REQUESTED
            if was_cancelled and self._is_run_over():
                return
            outcome = Outcome(*pair, **_describe(error))
        self._outcomes[self._waits[pair]] = outcome
        if self._request.stop_at_failure and not outcome.is_succeeded and self._failure is None:
            self._failure = outcome

    async def _execute(self, pair: tuple[str, str]) -> str:
        request, wait = self._request, self._waits[pair]
        remaining = None if self._deadline is None else max(self._deadline - workflow.now().timestamp(), 0.001)
        return await workflow.execute_activity_method(
            OperationActivities.poll if request.single_polls else OperationActivities.wait,
            OperationWait(*pair, self._details.get(wait, "")),
            activity_id=wait,
            start_to_close_timeout=_UNLIMITED,
            schedule_to_close_timeout=None if remaining is None else timedelta(seconds=remaining),
            heartbeat_timeout=timedelta(seconds=request.heartbeat_timeout),
            retry_policy=_RETRY,
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )


async def result_of(local_activity: Awaitable[Value]) -> Value:
    """Return the result of a local activity; raise CancelledError if it fails, as it does only when cancelled."""
    try:
        return await local_activity
    except ActivityError as error:
        raise asyncio.CancelledError from error


def _describe(error: ActivityError) -> dict[str, str]:
    """Return the name and the message of the error in an outcome."""
    cause = error.cause
    if isinstance(cause, exceptions.TimeoutError) or error.retry_state is RetryState.TIMEOUT:
        return {"error": "OperationTimeoutError", "message": "the timeout expired"}
    if isinstance(cause, ApplicationError):
        return {"error": cause.type or "", "message": cause.message}
    return {"error": "SchedulesError", "message": str(cause or error)}


def _to_error(failure: Outcome) -> ApplicationError:
    value = failure.value()
    message = value.failure_description or "no reason given" if isinstance(value, Operation) else str(value)
    kind = failure.error or "OperationFailedError"
    return ApplicationError(f"{value.ref}: {message}", type=kind, non_retryable=True)
