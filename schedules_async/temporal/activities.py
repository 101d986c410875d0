"""The activities: waiting for one operation to its end, or looking at it once, and how far all of a workflow are."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, MutableMapping
from contextlib import asynccontextmanager, contextmanager

from attrs import define, field
from temporalio import activity

from schedules_async import NotFoundError, Operation, OperationRef, PollingPolicy, SchedulesError, SchedulesSession
from schedules_async._clock import Clock
from schedules_async._polling.policy import jitter_seed
from schedules_async.temporal.failures import describe, still_running, to_failure
from schedules_async.temporal.memory import Memory
from schedules_async.temporal.payloads import OperationWait

_PULSES = 3  # heartbeats in the time after which the engine would give the worker up


@define(eq=False)
class Attempt:
    """One attempt of an activity: what it remembers, kept by the engine as its heartbeat's details."""

    ref: OperationRef
    memory: Memory
    _clock: Clock
    _began: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._began = self._clock.monotonic()

    @property
    def now(self) -> float:
        """Give the time by the engine's clock, which is one for all workers, in seconds since 1970."""
        return activity.info().started_time.timestamp() + self._clock.monotonic() - self._began

    @property
    def age(self) -> float:
        """Give the seconds since the activity was asked for, over all attempts."""
        return self.now - activity.info().scheduled_time.timestamp()

    def remember(self, memory: Memory) -> None:
        """Let the engine keep what was seen."""
        self.memory = memory
        self._beat()

    def _beat(self) -> None:
        activity.heartbeat(self.memory.to_json())

    @asynccontextmanager
    async def beating(self) -> AsyncIterator[None]:
        """Show that the worker lives, also while nothing changes."""
        timeout = activity.info().heartbeat_timeout
        pulse = asyncio.create_task(self._pulse(timeout.total_seconds() / _PULSES)) if timeout is not None else None
        try:
            yield
        finally:
            if pulse is not None:
                pulse.cancel()
                await asyncio.wait({pulse})

    async def _pulse(self, seconds: float) -> None:
        while True:
            await self._clock.sleep(seconds)
            self._beat()


@define(eq=False)
class OperationActivities:
    """The activities of one worker, around its one session.

    `snapshots` is the mapping that was given to the session: a snapshot that an earlier attempt left lends its
    ETag to the first look. Snapshots stay in it for as long as an attempt does.
    """

    _session: SchedulesSession
    _snapshots: MutableMapping[OperationRef, Operation]
    _polling: PollingPolicy
    _clock: Clock
    _random: Callable[[], float]

    @activity.defn(name="schedules_async.wait")
    async def wait(self, wanted: OperationWait) -> str:
        """Wait for the end of one operation; give the final snapshot as JSON."""
        async with self._attempt(wanted) as attempt:
            waiter = self._session.wait_for_operation(*attempt.ref, check=False, polling=self._polling)
            async for operation in waiter:
                attempt.remember(Memory(operation))
            return (await waiter).to_json()

    @activity.defn(name="schedules_async.poll")
    async def poll(self, wanted: OperationWait) -> str:
        """Look at one operation; give the final snapshot as JSON, or ask for another attempt when it is not due."""
        async with self._attempt(wanted) as attempt:
            try:
                operation = await self._session.get_operation(*attempt.ref)
            except NotFoundError as error:
                if attempt.age > self._polling.not_found_grace:
                    raise
                raise still_running(str(error), self._pause(attempt)) from None
            if operation.is_done:
                return operation.to_json()
            attempt.remember(attempt.memory.with_poll(attempt.now, operation))
            raise still_running(describe(operation), self._pause(attempt))

    def _pause(self, attempt: Attempt) -> float:
        return self._polling.interval(attempt.memory.progress(), jitter_seed(attempt.ref), self._random())

    @asynccontextmanager
    async def _attempt(self, wanted: OperationWait) -> AsyncIterator[Attempt]:
        """Take up what an earlier attempt left; say in the engine's words what went wrong.

        The engine's history keeps a failure with its whole chain, so the chain is cut: what a caller's own token
        function raised is not for everybody's eyes.
        """
        try:
            attempt = Attempt(wanted.ref, _recall(wanted), self._clock)
            with self._lent(attempt.ref, attempt.memory.operation):
                async with attempt.beating():
                    yield attempt
        except (SchedulesError, ValueError) as error:
            raise to_failure(error, self._polling.max_interval) from None

    @contextmanager
    def _lent(self, ref: OperationRef, held: Operation | None) -> Iterator[None]:
        """Let the session's first look be conditional; hold nothing longer than the attempt."""
        if held is not None:
            self._snapshots.setdefault(ref, held)
        try:
            yield
        finally:
            self._snapshots.pop(ref, None)


def _recall(wanted: OperationWait) -> Memory:
    """Take up what the last attempt left, else what the last activity did."""
    details = activity.info().heartbeat_details
    return Memory.from_json(details[0] if details else wanted.memory)
