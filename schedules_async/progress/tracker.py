"""Following waits with bars, whatever draws them."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from schedules_async import SchedulesSession
from schedules_async._waiters.waiter import Reawaitable
from schedules_async.progress.board import Board, Names, Traffic

Result = TypeVar("Result")

_SHORTEST_PAUSE = 0.1  # seconds between two frames
_REST = 9  # times what drawing took, so that it takes a tenth of the event loop at most


class Tracker(ABC):
    """Shows a bar for each operation of a wait, and below them the totals, for as long as somebody tracks.

    Several waits that are tracked at once are shown together. With a `session` the last line counts its requests,
    and says when a 429 keeps it waiting.
    """

    def __init__(self, *, names: Names | None = None, session: SchedulesSession | None = None) -> None:
        self._names = names
        self._footer = None if session is None else Traffic(session)
        self._users = 0

    async def track(self, waiter: Reawaitable[Result]) -> Result:
        """Show a wait until it ends; give what awaiting it gives, and raise what that raises."""
        with self.showing(waiter):
            return await waiter

    @contextmanager
    def showing(self, waiter: Reawaitable[Any]) -> Iterator[None]:
        """Show a wait while the block runs, for one that iterates over it."""
        if not self._users:
            self._board = Board(self._names)
            self._open()
            self._drawing = asyncio.create_task(self._keep_drawing())
        self._board.add(waiter.members)
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                self._end()

    async def _keep_drawing(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            self._redraw()
            await asyncio.sleep(max(_SHORTEST_PAUSE, _REST * (loop.time() - before)))

    def _redraw(self) -> None:
        self._board.update()
        self._draw()

    def _end(self) -> None:
        """Draw how it ended and let go of the screen; raise what drawing died of, if it did."""
        self._drawing.cancel()
        try:
            self._redraw()
        finally:
            self._close()
        if self._drawing.done():
            self._drawing.result()

    @abstractmethod
    def _open(self) -> None:
        """Take the screen."""

    @abstractmethod
    def _draw(self) -> None:
        """Draw the board as it stands."""

    @abstractmethod
    def _close(self) -> None:
        """Leave the last frame on the screen."""
