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
class SingleFlight(Generic[Value]):
    """Runs a coroutine function once for all callers that wait with the same arguments, in a copy of its context.

    Cancelling a caller, even the first or the last, does not affect the run.
    """

    _start: Callable[..., Coroutine[Any, Any, Value]]
    _context: contextvars.Context = field(factory=contextvars.copy_context)
    _runs: dict[tuple[Any, ...], asyncio.Task[Value]] = field(init=False, factory=dict)
    _callers: int = field(init=False, default=0)

    async def result(self, *arguments: Any) -> Value:
        """Return the result of the run under way with `arguments`, or of a new one.

        Each caller gets a copy of its exception. A run that is cancelled from outside is started again, at most twice;
        then AuthenticationError is raised.
        """
        self._callers += 1
        try:
            for _ in range(_MAX_RUNS):
                run = self._join(asyncio.get_running_loop(), arguments)
                await asyncio.wait({run})
                if run.cancelled():
                    continue
                if (error := run.exception()) is not None:
                    raise copy_error(error)
                return run.result()
        finally:
            self._callers -= 1
        raise AuthenticationError("no token could be obtained: the request was cancelled")

    def _join(self, loop: asyncio.AbstractEventLoop, arguments: tuple[Any, ...]) -> asyncio.Task[Value]:
        self._runs = {key: run for key, run in self._runs.items() if not run.done() and run.get_loop() is loop}
        if arguments not in self._runs:
            # A task made in this way is never eager, whatever the loop's task factory is.
            context = self._context.copy()
            run = self._runs[arguments] = asyncio.Task(self._start(*arguments), loop=loop, context=context)
            # Otherwise asyncio reports an exception that no caller is left to receive.
            run.add_done_callback(lambda run: run.cancelled() or run.exception())
        return self._runs[arguments]

    async def aclose(self) -> None:
        """End the runs if no caller waits, and wait until they have ended."""
        loop = asyncio.get_running_loop()
        runs = {run for run in self._runs.values() if run.get_loop() is loop and not run.done()}
        if runs and self._callers == 0:
            for run in runs:
                run.cancel()
            await asyncio.wait(runs)
