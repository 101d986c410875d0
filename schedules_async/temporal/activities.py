"""The activities that wait for one operation or poll it once, and those that read the heartbeats of a workflow.

The latter run as local activities: each adds one event to the workflow's history, however many operations it waits for.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, MutableMapping
from contextlib import asynccontextmanager
from datetime import timedelta

from attrs import define, field
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from schedules_async import NotFoundError, Operation, OperationRef, PollingPolicy, SchedulesError, SchedulesSession
from schedules_async._clock import Clock
from schedules_async._polling.experience import Experience
from schedules_async._polling.policy import check_interval, jitter_seed
from schedules_async.errors import AuthenticationError, RateLimitedError, SessionClosedError
from schedules_async.temporal.payloads import HeartbeatDetails, OperationWait, to_percents

Snapshots = MutableMapping[OperationRef, Operation]
_HEARTBEATS_PER_TIMEOUT = 3


@define(eq=False)
class Attempt:
    """One attempt of an activity; Temporal keeps `details` with its last heartbeat."""

    details: HeartbeatDetails
    _clock: Clock
    _begin: float

    @property
    def now(self) -> float:
        """The time by the clock of Temporal's server, common to all workers, in seconds since 1970."""
        return activity.info().started_time.timestamp() + self._clock.monotonic() - self._begin

    def record(self, details: HeartbeatDetails) -> None:
        """Send a heartbeat with these details."""
        self.details = details
        activity.heartbeat(details.to_json())

    async def send_heartbeats(self) -> None:
        """Send heartbeats until cancelled, even if nothing changes."""
        timeout = activity.info().heartbeat_timeout
        while timeout is not None:
            await self._clock.sleep(timeout.total_seconds() / _HEARTBEATS_PER_TIMEOUT)
            self.record(self.details)


@define(eq=False)
class OperationActivities:
    """The activities of one worker, which share its session.

    `snapshots` is the mapping that was passed to the session. During an attempt it contains the snapshot of the
    previous attempt, so that the first poll is conditional. Single polls learn from the ends that earlier ones on
    this worker have detected; waits learn what their session does.
    """

    _session: SchedulesSession
    _snapshots: Snapshots
    _polling: PollingPolicy
    _clock: Clock
    _random: Callable[[], float]
    _experience: Experience = field(factory=Experience)

    @activity.defn(name="schedules_async.wait")
    async def wait(self, request: OperationWait) -> str:
        """Wait for the end of one operation and return the final snapshot as JSON."""
        async with self._attempt(request) as attempt:
            waiter = self._session.wait_for_operation(request.ref, check=False, polling=self._polling)
            async for operation in waiter:
                attempt.record(HeartbeatDetails(operation))
            return (await waiter).to_json()

    @activity.defn(name="schedules_async.poll")
    async def poll(self, request: OperationWait) -> str:
        """Poll one operation; return the final snapshot as JSON, or raise a failure that schedules the next attempt."""
        async with self._attempt(request) as attempt:
            try:
                operation = await self._session.get_operation(request.ref)
            except NotFoundError as error:
                if attempt.now - activity.info().scheduled_time.timestamp() > self._polling.not_found_grace:
                    raise
                message = str(error)
            else:
                if operation.is_done:
                    if attempt.details.polls:
                        attempt.details.progress().teach(self._experience, operation, attempt.now, None)
                    return operation.to_json()
                attempt.record(attempt.details.with_poll(attempt.now, operation))
                message = f"{operation.raw_status} at {operation.percent_complete:g} %"
            progress = attempt.details.progress()
            progress.consult(self._experience)
            interval = self._polling.interval(progress, jitter_seed(request.ref), self._random())
            interval = check_interval(self._polling, interval)
            raise ApplicationError(
                message,
                type="OperationNotDone",  # not an error
                next_retry_delay=timedelta(seconds=interval),
                category=ApplicationErrorCategory.BENIGN,
            )

    @asynccontextmanager
    async def _attempt(self, request: OperationWait) -> AsyncIterator[Attempt]:
        """Start from the details of the previous attempt, and translate errors to Temporal's failures.

        Temporal's history keeps a failure with its whole chain, so the chain is cut: an exception of the caller's
        token function may contain secrets.
        """
        try:
            ref, previous = request.ref, activity.info().heartbeat_details
            details = HeartbeatDetails.from_json(previous[0] if previous else request.details)
            if details.operation is not None:
                self._snapshots.setdefault(ref, details.operation)
            attempt = Attempt(details, self._clock, self._clock.monotonic())
            heartbeats = asyncio.create_task(attempt.send_heartbeats())
            try:
                yield attempt
            finally:
                heartbeats.cancel()
                await asyncio.wait({heartbeats})
                self._snapshots.pop(ref, None)
        except (SchedulesError, ValueError, TypeError) as error:
            raise to_failure(error, self._polling.max_interval) from None


def to_failure(error: Exception, retry_delay: float) -> ApplicationError:
    """Return the failure for an error; if retried, it is so after its Retry-After, or else `retry_delay` seconds."""
    retry_after = getattr(error, "retry_after", None)
    if isinstance(error, AuthenticationError):
        # No token could be obtained. One that was rejected, or credentials with an OAuth error, will be so again.
        is_retryable = error.is_transient or (error.status is None and error.code is None)
    else:
        is_retryable = isinstance(error, RateLimitedError | SessionClosedError) or getattr(error, "is_transient", False)
    return ApplicationError(
        str(error),
        type=type(error).__name__,
        non_retryable=not is_retryable,
        next_retry_delay=timedelta(seconds=retry_delay if retry_after is None else retry_after),
    )


@activity.defn(name="schedules_async.pending_percents")
async def pending_percents() -> dict[str, float]:
    """Return the percent complete of each pending activity that has a snapshot, by the activity's id."""
    return to_percents(await pending_details())


@activity.defn(name="schedules_async.pending_details")
async def pending_details() -> dict[str, str]:
    """Return the heartbeat details of each pending activity as text, by the activity's id."""
    info, client = activity.info(), activity.client()
    handle = client.get_workflow_handle(info.workflow_id or "", run_id=info.workflow_run_id)
    pending = (await handle.describe()).raw_description.pending_activities
    payloads = {each.activity_id: each.heartbeat_details.payloads for each in pending}
    decode = client.data_converter.decode
    return {key: (await decode(each))[0] for key, each in payloads.items() if each}
