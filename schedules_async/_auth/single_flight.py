"""One run of a coroutine function at a time, shared by all callers that wait for it."""

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
    """Runs a coroutine function once for all callers that wait at the same time, in a context of its own.

    Cancelling a caller, even the first or the last, does not affect the run.
    """

    _start: Callable[..., Coroutine[Any, Any, Value]]
    _context: contextvars.Context = field(factory=contextvars.copy_context)
    _run: asyncio.Task[Value] | None = field(init=False, default=None)
    _callers: int = field(init=False, default=0)

    async def result(self, *arguments: Any) -> Value:
        """Return the result of the run under way, or of a new one with `arguments`.

        Each caller gets a copy of its exception. A run that is cancelled from outside is started again, a few times at
        most; then AuthenticationError is raised.
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
        if self._run is None or self._run.done() or self._run.get_loop() is not loop:
            # A task made in this way is never eager, whatever the loop's task factory is.
            self._run = asyncio.Task(self._start(*arguments), loop=loop, context=self._context)
            # Otherwise asyncio reports an exception that no caller is left to receive.
            self._run.add_done_callback(lambda run: run.cancelled() or run.exception())
        return self._run

    async def aclose(self) -> None:
        """End a run that no caller waits for, and wait until it has ended."""
        run = self._run
        if run is not None and self._callers == 0 and run.get_loop() is asyncio.get_running_loop():
            run.cancel()
            await asyncio.wait({run})
