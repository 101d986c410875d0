"""One run of something at a time, for all who wait for it."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from attrs import define, field

Value = TypeVar("Value")


@define(eq=False, repr=False)
class _Run(Generic[Value]):
    task: asyncio.Task[Value]
    users: int = 0


@define(eq=False, repr=False)
class Shared(Generic[Value]):
    """Runs a coroutine function once for all who wait at the same time; the last one to leave ends the run.

    Cancelling one who waits, the first included, costs the others nothing.
    """

    _start: Callable[[], Coroutine[Any, Any, Value]]
    _run: _Run[Value] | None = field(init=False, default=None)

    async def result(self, patience: float | None = None) -> Value:
        """Wait for the run's result; TimeoutError after `patience` seconds of the event loop."""
        run = self._join()
        try:
            await asyncio.wait({run.task}, timeout=patience)
        except asyncio.CancelledError:
            await self._leave(run)
            raise
        if not run.task.done():
            await self._leave(run)
            raise TimeoutError
        return run.task.result()

    def _join(self) -> _Run[Value]:
        loop = asyncio.get_running_loop()
        run = self._run
        if run is None or run.task.done() or run.task.get_loop() is not loop:  # the loop may be another one's
            run = self._run = _Run(asyncio.Task(self._start(), loop=loop))  # never eager, whatever the task factory
            run.task.add_done_callback(_look_at)
        run.users += 1
        return run

    async def _leave(self, run: _Run[Value]) -> None:
        """Let one go; with the last one the run ends, and is waited for, so that nothing of it is left."""
        run.users -= 1
        if run.users == 0 and not run.task.done():
            self._run = None
            run.task.cancel()
            await asyncio.wait({run.task})


def _look_at(task: "asyncio.Task[Any]") -> None:
    """Read the exception, so that asyncio does not complain where all who waited have left."""
    if not task.cancelled():
        task.exception()
