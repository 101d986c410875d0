"""Waiters: what `wait_for_operation` and `wait_for_operations` give, to be awaited, run as a task, or iterated over."""

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection, Coroutine, Generator
from typing import Any, Generic, Never, Protocol, TypeVar

from attrs import define, field

from schedules_async._operations.operation import Operation
from schedules_async._operations.ref import OperationRef
from schedules_async._polling.forecast import TimeRemaining
from schedules_async._waiters.wait_state import Member, Reader, Wait
from schedules_async.errors import OperationGroupError

Result = TypeVar("Result")
Item = TypeVar("Item")
_MOST_NAMED = 5  # operations in a group error's message; `exceptions` has them all


class OperationProgress(Protocol):
    """How one operation of a wait stands; read it again to see it later."""

    @property
    def ref(self) -> OperationRef:
        """Name the operation."""

    @property
    def latest(self) -> Operation | None:
        """Give the newest snapshot that the wait has seen, None before the first."""

    @property
    def time_remaining(self) -> TimeRemaining | None:
        """Give the range in which the end is expected, in seconds from now; None without credible progress."""

    @property
    def outcome(self) -> Operation | Exception | None:
        """Give the final snapshot, or the error that the wait lost the operation with; None while it goes on."""


class Reawaitable(Coroutine[Any, Any, Result], AsyncIterable[Operation]):
    """A coroutine that may be awaited again and again, and run by several tasks at once.

    `asyncio.create_task` refuses an object that only has `__await__`. Each task drives a coroutine of its own,
    made when it begins: an object that is dropped unused warns of nothing.
    """

    __slots__ = ("__weakref__", "_driven", "_wait")

    def __init__(self, wait: Wait) -> None:
        self._wait = wait
        self._driven: dict[asyncio.Task[Any] | None, Coroutine[Any, Any, Result]] = {}

    @abstractmethod
    def _conclude(self) -> Result:
        """Give the result of a wait that is over, or raise."""

    async def _finish(self) -> Result:
        """Wait until every operation has ended."""
        reader = self._wait.begin(wakes_on_change=False)
        try:
            while not self._wait.is_over:
                reader.raise_interruption()
                await reader.news()
        finally:
            self._wait.leave(reader)
        return self._conclude()

    def __await__(self) -> Generator[Any, None, Result]:
        return self._finish().__await__()

    def __aiter__(self) -> "Changes":
        return Changes(self._wait, self._conclude)

    @property
    def members(self) -> Collection[OperationProgress]:
        """What is waited for, each operation once; for bars and screens."""
        return self._wait.members.values()

    async def aclose(self) -> None:
        """End every use of this waiter: iterations end, awaits are cancelled; what it waits for goes on."""
        self._wait.close()

    def send(self, value: Any) -> Any:
        """Drive the running task's coroutine."""
        return self._drive("send", value)

    def throw(self, *error: Any) -> Any:
        """Throw an error into the running task's coroutine."""
        return self._drive("throw", *error)

    def close(self) -> None:
        """Drop what tasks that are given up have begun."""
        while self._driven:
            self._driven.popitem()[1].close()

    def _drive(self, method: str, *arguments: Any) -> Any:
        task = asyncio.current_task()
        coroutine = self._driven.pop(task, None) or self._finish()
        result = getattr(coroutine, method)(*arguments)
        self._driven[task] = coroutine
        return result


class OperationWaiter(Reawaitable[Operation]):
    """A wait for one operation: await it for the final snapshot, or iterate over its changes.

    It is a coroutine too, for `create_task`, `TaskGroup`, `gather` and `wait_for`. Making one sends nothing;
    a second await gives the remembered outcome. Cancelling a wait never touches the operation.
    """

    __slots__ = ("_member",)

    def __init__(self, wait: Wait) -> None:
        super().__init__(wait)
        (self._member,) = wait.members.values()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.ref} {self.latest.raw_status if self.latest else 'not seen yet'}>"

    @property
    def ref(self) -> OperationRef:
        """The operation that is waited for."""
        return self._member.ref

    @property
    def latest(self) -> Operation | None:
        """The newest snapshot that this wait has seen, None before the first."""
        return self._member.latest

    @property
    def time_remaining(self) -> TimeRemaining | None:
        """The range in which the end is expected, in seconds from now; None without credible progress."""
        return self._member.time_remaining

    def _conclude(self) -> Operation:
        (result,) = self._wait.results()
        if isinstance(result, Exception):
            raise result
        return result

    def checkpoint(self) -> str:
        """Give the wait as JSON text for `SchedulesSession.resume`, in this process or another; no token is in it."""
        return self._wait.checkpoint(is_group=False)


class GroupWaiter(Reawaitable[list[Item]], Generic[Item]):
    """What `OperationGroupWaiter` is, whatever the items of its result are."""

    __slots__ = ("_members",)

    def __init__(self, wait: Wait) -> None:
        super().__init__(wait)
        self._members = wait.members.values()

    def __repr__(self) -> str:
        ended = sum(member.outcome is not None for member in self._members)
        return f"<{type(self).__name__} {ended} of {len(self._members)} operations ended>"

    @property
    def refs(self) -> list[OperationRef]:
        """The operations that are waited for, as asked."""
        return list(self._wait.refs)

    @property
    def latest(self) -> dict[OperationRef, Operation]:
        """The newest snapshot of each operation that was seen."""
        return {member.ref: member.latest for member in self._members if member.latest is not None}

    @property
    def percent_complete(self) -> float:
        """The mean over all operations; one that has ended for this wait counts 100, one not seen yet 0."""
        shares = [_share(member) for member in self._members]
        return 100 * sum(shares) / len(shares) if shares else 100.0

    @property
    def time_remaining(self) -> TimeRemaining | None:
        """The range in which the last one ends, in seconds from now; None unless the progress of all is credible."""
        ranges = [member.time_remaining for member in self._members if member.outcome is None]
        known = [one for one in ranges if one is not None]
        if not known or len(known) < len(ranges):
            return None
        return TimeRemaining(max(one.low for one in known), max(one.high for one in known))

    def _conclude(self) -> list[Item]:
        results: list[Any] = self._wait.results()
        asked = zip(self._wait.refs, results, strict=True)
        lost = {ref: result for ref, result in asked if isinstance(result, Exception)}
        if lost and self._wait.options.check:
            message = _count_lost(list(lost), len(self._members))
            raise OperationGroupError(message, list(lost.values()), operations=self.latest)
        return results

    def checkpoint(self) -> str:
        """Give the wait as JSON text for `SchedulesSession.resume`, in this process or another; no token is in it."""
        return self._wait.checkpoint(is_group=True)


class OperationGroupWaiter(GroupWaiter[Operation]):
    """A wait for many operations: await it for all final snapshots in the order asked, or iterate over changes.

    What becomes of one disturbs no other. When all have ended and some did not succeed, both forms raise one
    OperationGroupError, unless `check` is False. It is a coroutine too, as an OperationWaiter is.
    """

    __slots__ = ()


def _share(member: Member) -> float:
    if member.outcome is not None:
        return 1.0
    return 0.0 if member.latest is None else member.latest.fraction


def _count_lost(refs: list[OperationRef], count: int) -> str:
    more = f" and {len(refs) - _MOST_NAMED} more" if len(refs) > _MOST_NAMED else ""
    return f"{len(refs)} of {count} operations did not succeed: {', '.join(map(str, refs[:_MOST_NAMED]))}{more}"


@define(eq=False, repr=False)
class Changes(AsyncIterator[Operation]):
    """One iteration over a wait: the newest snapshots first, then each change, each final one once.

    A cancelled `anext` loses nothing: the polling goes on, and the next one goes on reading. The polling ends with
    the iteration, which is over when it is closed or dropped.
    """

    _wait: Wait
    _conclude: Callable[[], object]
    _reader: Reader | None = field(init=False, default=None)
    _is_over: bool = field(init=False, default=False)

    async def __anext__(self) -> Operation:
        while not isinstance(step := self._step(), Operation):
            try:
                await step.news()
            except asyncio.CancelledError:
                del self  # a traceback that somebody keeps must not keep this iteration, and with it the polling
                raise
        return step

    def _step(self) -> Operation | Reader:
        """Give a snapshot that was not given yet, or who will have news of one; raise what the iteration ends with."""
        if self._is_over or (self._reader is None and self._wait.is_closed):
            raise StopAsyncIteration
        if self._reader is None:
            self._reader = self._wait.begin(wakes_on_change=True)
        change = self._reader.read()
        if change is None and (self._wait.is_over or self._reader.interruption is not None):
            self._end(self._reader)
        return change or self._reader

    def _end(self, reader: Reader) -> Never:
        self._is_over = True
        self._leave()
        if self._wait.is_over:
            self._conclude()
        elif not self._wait.is_closed:
            reader.raise_interruption()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End this iteration, also for whoever waits for its next change."""
        self._is_over = True
        if self._reader is not None:
            self._reader.wake()
        self._leave()

    def _leave(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            self._wait.leave(reader)

    def __del__(self) -> None:
        self._leave()
