"""Waiters: what `wait_for_operation` and `wait_for_operations` return, to be awaited or iterated over."""

import asyncio
import warnings
from abc import abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection, Coroutine, Generator, Iterable
from typing import Any, Generic, Protocol, TypeVar, cast

from attrs import define, field

from schedules_async._operations.base_errors import copy_error
from schedules_async._operations.operation import Operation
from schedules_async._operations.ref import OperationRef
from schedules_async._polling.forecast import TimeRemaining
from schedules_async._waiters.wait_state import Consumer, OperationSubscriber, WaitState
from schedules_async.errors import OperationGroupError

Result = TypeVar("Result")
Item = TypeVar("Item")
_MOST_NAMED = 5  # operations in a group error's message; `exceptions` has them all


class OperationProgress(Protocol):
    """The current state of one operation of a wait."""

    @property
    def ref(self) -> OperationRef:
        """The operation."""

    @property
    def latest(self) -> Operation | None:
        """The newest snapshot of this wait, None before the first."""

    @property
    def time_remaining(self) -> TimeRemaining | None:
        """The range in which the end is expected, in seconds from now; None without credible progress."""

    @property
    def outcome(self) -> Operation | Exception | None:
        """The final snapshot, or the error with which the operation was lost; None before either."""


class Waiter(Coroutine[Any, Any, Result], AsyncIterable[Operation]):
    """A coroutine that can be awaited more than once, and by several tasks at the same time.

    `asyncio.create_task` refuses an object that only has `__await__`, so this class has the methods of a coroutine.
    Each task drives a coroutine of its own, created at its first step. Cancelling a task does not affect the others.
    """

    __slots__ = ("__weakref__", "_driven", "_is_used", "_state")

    def __init__(self, state: WaitState) -> None:
        self._state = state
        self._is_used = False
        self._driven: dict[asyncio.Task[Any] | None, Coroutine[Any, Any, Result]] = {}

    def __del__(self) -> None:
        if not getattr(self, "_is_used", True):
            warnings.warn(f"{self!r} was never awaited", RuntimeWarning, stacklevel=2, source=self)

    @abstractmethod
    def _conclude(self) -> Result:
        """Return the result of a wait that is over, or raise."""

    async def _finish(self) -> Result:
        """Wait until every operation has ended."""
        state = self._state
        consumer = state.add_consumer(wakes_on_change=False)
        try:
            while state.unfinished and consumer.interruption is None:
                await consumer.news()
        except GeneratorExit:
            state.abandon(consumer)  # perhaps closed by the garbage collector, at any moment
            raise
        except BaseException:
            state.remove_consumer(consumer)
            raise
        state.remove_consumer(consumer)
        if state.unfinished and consumer.interruption is not None:
            raise copy_error(consumer.interruption)
        return self._conclude()

    def __await__(self) -> Generator[Any, None, Result]:
        self._is_used = True
        return self._finish().__await__()

    def __aiter__(self) -> "ChangeIterator":
        self._is_used = True
        return ChangeIterator(self._state, self._conclude)

    @property
    def members(self) -> Collection[OperationProgress]:
        """The state of each operation, without duplicates; for bars and other displays."""
        self._is_used = True
        return self._state.members.values()

    def checkpoint(self) -> str:
        """Return the wait as JSON text for `SchedulesSession.resume`, in this process or another; it holds no token."""
        return self._state.checkpoint(is_group=isinstance(self, GroupWaiter))

    async def aclose(self) -> None:
        """End every use of this waiter: iterations end, awaits raise WaitError. Operations and other waits continue.

        Raise ValueError on another event loop than the session's, unless the session's is closed.
        """
        self._is_used = True
        self._state.close()

    def send(self, value: Any) -> Any:
        """Drive the coroutine of the running task."""
        return self._drive("send", value)

    def throw(self, *error: Any) -> Any:
        """Throw an exception into the coroutine of the running task."""
        return self._drive("throw", *error)

    def close(self) -> None:
        """Close the coroutine of the running task, if it drives one; those of other tasks continue."""
        self._is_used = True
        coroutine = self._driven.pop(_find_task(), None)
        if coroutine is not None:
            coroutine.close()

    def _drive(self, method: str, *arguments: Any) -> Any:
        self._is_used = True
        coroutine = self._driven.pop(_find_task(), None) or self._finish()
        result = getattr(coroutine, method)(*arguments)
        self._driven[_find_task()] = coroutine  # no frame holds the task, whose exception would hold the frame
        return result


def _find_task() -> "asyncio.Task[Any] | None":
    """Return the running task, None where no event loop runs."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


class OperationWaiter(Waiter[Operation]):
    """A wait for one operation: await it for the final snapshot, or iterate over its changes.

    It is a coroutine too, for `create_task`, `TaskGroup`, `gather` and `wait_for`. Creating one sends nothing;
    a second await returns the remembered outcome. Cancelling a wait affects neither the operation nor its other waits.
    A waiter that is dropped unused causes a RuntimeWarning, as a coroutine does.
    """

    __slots__ = ("_member",)

    def __init__(self, state: WaitState) -> None:
        super().__init__(state)
        (self._member,) = state.members.values()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.ref} {self.latest.raw_status if self.latest else 'no snapshot yet'}>"

    @property
    def ref(self) -> OperationRef:
        """The operation that is waited for."""
        return self._member.ref

    @property
    def latest(self) -> Operation | None:
        """The newest snapshot of this wait, None before the first."""
        return self._member.latest

    @property
    def time_remaining(self) -> TimeRemaining | None:
        """The range in which the end is expected, in seconds from now; None without credible progress."""
        return self._member.time_remaining

    def _conclude(self) -> Operation:
        (result,) = self._state.results()
        try:
            if isinstance(result, Exception):
                raise result
            return result
        finally:
            del result  # avoid a cycle of the exception, its traceback and this frame


class GroupWaiter(Waiter[list[Item]], Generic[Item]):
    """A wait for many operations whose result is a list of `Item`: see `OperationGroupWaiter`.

    With `check=False` the items are `Operation | SchedulesError`.
    """

    __slots__ = ("_members",)

    def __init__(self, state: WaitState) -> None:
        super().__init__(state)
        self._members = state.members.values()

    def __repr__(self) -> str:
        ended = sum(member.outcome is not None for member in self._members)
        return f"<{type(self).__name__} {ended} of {len(self._members)} operations ended>"

    @property
    def refs(self) -> list[OperationRef]:
        """The operations that are waited for, in the order asked."""
        return list(self._state.refs)

    @property
    def latest(self) -> dict[OperationRef, Operation]:
        """The newest snapshot of each operation that has one."""
        return {member.ref: member.latest for member in self._members if member.latest is not None}

    @property
    def percent_complete(self) -> float:
        """The mean over all operations; one that has ended for this wait counts 100, one without a snapshot 0."""
        shares = [_share(member) for member in self._members]
        return 100 * sum(shares) / len(shares) if shares else 100.0

    @property
    def time_remaining(self) -> TimeRemaining | None:
        """The range in which the last end is expected, in seconds from now; None unless all progress is credible."""
        return last_end(member.time_remaining for member in self._members if member.outcome is None)

    def _conclude(self) -> list[Item]:
        results: list[Any] = self._state.results()
        asked = zip(self._state.refs, results, strict=True)
        lost = {ref: result for ref, result in asked if isinstance(result, Exception)}
        if lost and self._state.options.check:
            message = _count_lost(list(lost), len(self._members))
            raise OperationGroupError(message, list(lost.values()), operations=self.latest, errors=lost)
        return results


class OperationGroupWaiter(GroupWaiter[Operation]):
    """A wait for many operations: await it for all final snapshots in the order asked, or iterate over changes.

    The failure of one affects no other. When all have ended and some did not succeed, both forms raise one
    OperationGroupError, unless `check` is False. It is a coroutine too, as an OperationWaiter is.
    """

    __slots__ = ()


def last_end(ranges: Iterable[TimeRemaining | None]) -> TimeRemaining | None:
    """Return the range in which the last of several operations ends; None if there are none, or one has no range."""
    found = list(ranges)
    known = [each for each in found if each is not None]
    if not known or len(known) < len(found):
        return None
    return TimeRemaining(max(each.low for each in known), max(each.high for each in known))


def _share(member: OperationSubscriber) -> float:
    if member.outcome is not None:
        return 1.0
    return 0.0 if member.latest is None else member.latest.fraction


def _count_lost(refs: list[OperationRef], count: int) -> str:
    more = f" and {len(refs) - _MOST_NAMED} more" if len(refs) > _MOST_NAMED else ""
    return f"{len(refs)} of {count} operations did not succeed: {', '.join(map(str, refs[:_MOST_NAMED]))}{more}"


@define(eq=False, repr=False)
class ChangeIterator(AsyncIterator[Operation]):
    """One iteration over a wait: the newest snapshots first, then each change; each final snapshot once.

    A cancelled `anext` loses nothing: polling continues, and the next `anext` returns the change that was missed.
    Closing or dropping the iterator leaves the wait, as happens when the `async for` of a cancelled task unwinds.
    """

    _state: WaitState
    _conclude: Callable[[], object]
    _consumer: Consumer | None = field(init=False, default=None)
    _is_over: bool = field(init=False, default=False)

    async def __anext__(self) -> Operation:
        state = self._state
        while not self._is_over and (self._consumer is not None or not state.is_closed):
            consumer = self._consumer = self._consumer or state.add_consumer(wakes_on_change=True)
            if consumer.changed:
                return cast("Operation", consumer.changed.popitem(last=False)[0].latest)
            if not state.unfinished or consumer.interruption is not None:
                self._is_over = True
                state.remove_consumer(consumer)
                if consumer.interruption is not None and not state.is_closed:
                    raise copy_error(consumer.interruption)
                if not state.unfinished:
                    self._conclude()
                break
            try:
                await consumer.news()
            except asyncio.CancelledError:
                del self, state, consumer  # a kept traceback must not keep the polling alive
                raise
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End this iteration, also for a task that awaits its next change; raise ValueError on another event loop."""
        if self._consumer is not None:
            self._state.close_consumer(self._consumer)
        self._is_over = True

    def __reduce__(self) -> str:
        raise TypeError("an iteration cannot be copied or pickled")

    def __del__(self) -> None:
        consumer = self._consumer
        if consumer is not None:
            self._state.abandon(consumer)
