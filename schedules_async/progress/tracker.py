"""The display of tracked waits as bars, independent of the library that draws them."""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from schedules_async import SchedulesSession
from schedules_async._waiters.waiter import Waiter
from schedules_async.progress.board import Board, Names
from schedules_async.progress.text import format_stats

Result = TypeVar("Result")

_LOGGER = logging.getLogger("schedules_async")

_FRAME_INTERVAL = 0.1  # seconds between two frames, at least
_IDLE_FACTOR = 9  # pause after a frame, in multiples of its duration: at most a tenth of the time is spent on drawing


class Tracker(ABC):
    """Displays waits while at least one is tracked; a subclass draws them."""

    _frame: asyncio.Handle | None = None  # the next one; None while nothing is displayed

    def __init__(self, *, names: Names | None = None, session: SchedulesSession | None = None) -> None:
        self._names = names
        self._footer = None if session is None else lambda: format_stats(session.stats)
        self._tracked = 0

    async def track(self, waiter: Waiter[Result]) -> Result:
        """Await a wait while displaying its progress; return or raise what the wait returns or raises."""
        with self.showing(waiter):
            return await waiter

    @contextmanager
    def showing(self, waiter: Waiter[Any]) -> Iterator[None]:
        """Display the progress of a wait while the block runs, for code that iterates over the wait itself."""
        with self._closing_on_failure():
            if not self._tracked:
                self._board = Board(self._names)
                self._open()
                self._frame = asyncio.get_running_loop().call_soon(self._draw_next)
            if self._frame is not None:
                self._board.add(waiter.members)
        self._tracked += 1
        try:
            yield
        finally:
            self._tracked -= 1
            if not self._tracked and self._frame is not None:
                with self._closing_on_failure():
                    self._redraw()
                    self._stop()

    def _draw_next(self) -> None:
        loop = asyncio.get_running_loop()
        before = loop.time()
        with self._closing_on_failure():
            self._redraw()
            delay = max(_FRAME_INTERVAL, _IDLE_FACTOR * (loop.time() - before))
            self._frame = loop.call_later(delay, self._draw_next)

    def _redraw(self) -> None:
        self._board.update()
        self._draw()

    def _stop(self) -> None:
        if self._frame is not None:
            self._frame.cancel()
            self._frame = None
        self._close()

    @contextmanager
    def _closing_on_failure(self) -> Iterator[None]:
        """Close the display if the block raises, for instance on a closed terminal; rich can raise even SystemExit."""
        try:
            yield
        except (Exception, SystemExit):
            with suppress(Exception, SystemExit):
                self._stop()
            with suppress(ValueError):  # a log without handlers goes to stderr, which may be closed
                _LOGGER.warning("progress can no longer be displayed", exc_info=True)

    @abstractmethod
    def _open(self) -> None: ...

    @abstractmethod
    def _draw(self) -> None: ...

    @abstractmethod
    def _close(self) -> None:
        """Close the display; its last frame remains on the screen."""
