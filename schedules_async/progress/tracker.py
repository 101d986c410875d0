"""Tracking waits with bars, whatever draws them."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from schedules_async import SchedulesSession
from schedules_async._waiters.waiter import Reawaitable
from schedules_async.progress.board import Board, Names, Traffic

Result = TypeVar("Result")

_FRAME_INTERVAL = 0.1  # seconds between two frames, at least
_IDLE_FACTOR = 9  # times what drawing took, so that it takes at most a tenth of the event loop's time


class Tracker(ABC):
    """Displays a bar for each operation of a wait and a total, as long as at least one wait is tracked.

    Waits that are tracked at the same time share one display. With a `session` the last line counts its requests
    and, after a 429, the seconds until the next request may leave.
    """

    def __init__(self, *, names: Names | None = None, session: SchedulesSession | None = None) -> None:
        self._names = names
        self._footer = None if session is None else Traffic(session)
        self._tracked = 0

    async def track(self, waiter: Reawaitable[Result]) -> Result:
        """Await a wait while displaying its progress; return or raise what the wait returns or raises."""
        with self.showing(waiter):
            return await waiter

    @contextmanager
    def showing(self, waiter: Reawaitable[Any]) -> Iterator[None]:
        """Display the progress of a wait while the block runs, for code that iterates over the wait itself."""
        if not self._tracked:
            self._board = Board(self._names)
            self._open()
            self._drawing = asyncio.create_task(self._keep_drawing())
        self._board.add(waiter.members)
        self._tracked += 1
        try:
            yield
        finally:
            self._tracked -= 1
            if not self._tracked:
                self._end()

    async def _keep_drawing(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            self._redraw()
            await asyncio.sleep(max(_FRAME_INTERVAL, _IDLE_FACTOR * (loop.time() - before)))

    def _redraw(self) -> None:
        self._board.update()
        self._draw()

    def _end(self) -> None:
        """Draw the last frame and close the display; raise the exception that ended drawing, if any."""
        self._drawing.cancel()
        try:
            self._redraw()
        finally:
            self._close()
        if self._drawing.done():
            self._drawing.result()

    @abstractmethod
    def _open(self) -> None:
        """Open the display."""

    @abstractmethod
    def _draw(self) -> None:
        """Draw the board."""

    @abstractmethod
    def _close(self) -> None:
        """Close the display, with the last frame left on the screen."""
