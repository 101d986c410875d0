"""One run of a coroutine function at a time for the same arguments, shared by all callers that wait for it."""

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from attrs import define, field

from schedules_async._operations.base_errors import copy_error
from schedules_async.errors import AuthenticationError

Value = TypeVar("Value")
_MAX_RUNS = 3  # for one caller, if each is cancelled from outside


@define(eq=False, repr=False)
class _Run(Generic[Value]):
    """A run and the number of its callers; `is_detached` once a caller has run out of patience."""

    task: asyncio.Task[Value]
    callers: int = 0
    is_detached: bool = False


@define(eq=False, repr=False)
class SingleFlight(Generic[Value]):
    """Runs a coroutine function once for all callers that wait with the same arguments, in a context of its own.

    Cancelling a caller, even the first, does not affect the others. Cancelling the last one ends the run, unless an
    earlier caller has run out of patience or was dropped.
    """

    _start: Callable[..., Coroutine[Any, Any, Value]]
    _context: contextvars.Context = field(factory=contextvars.copy_context)
    _runs: dict[tuple[Any, ...], _Run[Value]] = field(init=False, factory=dict)

    async def result(self, *arguments: Any, patience: float | None = None) -> Value:
        """Return the result of the run under way with `arguments`, or of a new one.

        Each caller gets a copy of its exception. Raise TimeoutError after `patience` seconds of the event loop; the
        run continues. A run that is cancelled from outside is started again, at most twice; then AuthenticationError
        is raised.
        """
        loop = asyncio.get_running_loop()
        deadline = None if patience is None else loop.time() + patience
        for _ in range(_MAX_RUNS):
            run = self._join(loop, arguments)
            await self._wait_for(run, None if deadline is None else deadline - loop.time())
            if not run.task.done():
                raise TimeoutError
            if run.task.cancelled():
                continue
            if (error := run.task.exception()) is not None:
                raise copy_error(error)
            return run.task.result()
        raise AuthenticationError("no token could be obtained: the request was cancelled")

    async def _wait_for(self, run: _Run[Value], seconds: float | None) -> None:
        """Wait for the end of a run, at most some seconds; leave the run."""
        try:
            await asyncio.wait({run.task}, timeout=seconds)
            run.is_detached |= not run.task.done()
        except GeneratorExit:  # a dropped coroutine must not await the end of the run below
            run.is_detached = True
            raise
        finally:
            run.callers -= 1
            if not run.is_detached:
                await self._end_idle(run)

    def _join(self, loop: asyncio.AbstractEventLoop, arguments: tuple[Any, ...]) -> _Run[Value]:
        run = self._runs.get(arguments)
        if run is None or run.task.done() or run.task.get_loop() is not loop:
            # A task made in this way is never eager, whatever the loop's task factory is.
            run = _Run(asyncio.Task(self._start(*arguments), loop=loop, context=self._context.copy()))
            # Otherwise asyncio reports an exception that no caller is left to receive.
            run.task.add_done_callback(lambda task: task.cancelled() or task.exception())
            self._runs = {key: each for key, each in self._runs.items() if not each.task.done()} | {arguments: run}
        run.callers += 1
        return run

    async def aclose(self) -> None:
        """End the runs of this event loop that no caller waits for, and wait until they have ended."""
        for run in tuple(self._runs.values()):
            if run.task.get_loop() is asyncio.get_running_loop():
                await self._end_idle(run)

    async def _end_idle(self, run: _Run[Value]) -> None:
        if run.callers == 0 and not run.task.done():
            self._runs = {key: each for key, each in self._runs.items() if each is not run}
            run.task.cancel()
            await asyncio.wait({run.task})
