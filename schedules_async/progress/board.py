"""The display of tracked waits, whatever draws it: each operation and the total, the choice of a few, their layout."""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from heapq import nlargest, nsmallest
from itertools import chain, islice
from math import inf
from operator import attrgetter
from typing import Any, TypeVar

from attrs import define, field, frozen

from schedules_async import Operation, OperationProgress, OperationRef, SchedulesSession, TimeRemaining
from schedules_async._waiters.waiter import Waiter, last_end
from schedules_async.progress.text import error_reason, format_percent, format_stats, format_time_left, printable

_LOGGER = logging.getLogger("schedules_async")

Names = Mapping[OperationRef, str] | Callable[[OperationRef], str]
Result = TypeVar("Result")

_FRAME_INTERVAL = 0.1  # seconds between two frames, at least
_IDLE_FACTOR = 9  # pause after a frame, in multiples of its duration: at most a tenth of the time is spent on drawing
_UPDATES_PER_CHOICE = 10  # updates of the board for which a choice among many operations is kept
_SHARE = 5  # a bar takes at most a fifth of the width, and so does a name; the rest has at least two fifths
_MIN_BAR, _MAX_BAR = 8, 40
_WIDTH_FOR_BARS, _WIDTH_FOR_TIME_LEFT = 40, 70  # columns; a narrower display has none
_LOOKS = {  # of each status: the mark, the mark in ASCII, the style of both and of the state, and that of the bar
    "running": (" ", "  ", "", "cyan"),
    "succeeded": ("✓", "ok", "green", "green"),
    "lost": ("✗", "x ", "red", "red"),
    "total": (" ", "  ", "", "blue"),
}


@define(eq=False)
class Track:
    """What is displayed of one operation, whose `fraction` never decreases, or of all together.

    `status` is "running", "succeeded", "lost" if the wait for the operation has ended without success, or "total".
    `changed` is the number of the update that found the last change.
    """

    name: str
    status: str = "running"
    fraction: float = 0.0
    state: str = "no answer yet"
    time_remaining: TimeRemaining | None = None
    changed: int = 0
    _latest: Operation | None = None

    def update(self, member: OperationProgress, number: int) -> None:
        """Update from the newest snapshot, or the error by which the operation was lost."""
        latest, outcome = member.latest, member.outcome
        self.time_remaining = member.time_remaining if outcome is None else None
        if latest is self._latest and outcome is None:
            return
        self._latest, self.changed = latest, number
        if latest is not None:
            reached = min(max(latest.percent_complete / 100, 0.0), 1.0) if latest.is_failed else latest.fraction
            self.fraction = max(self.fraction, reached)
            self.state = printable((not latest.is_done and latest.sub_status) or latest.raw_status)
        if isinstance(outcome, Operation) and outcome.is_succeeded:
            self.status = "succeeded"
        elif outcome is not None:
            self.status, self.state = "lost", error_reason(outcome)


@define(eq=False)
class Board:
    """All tracked operations, in the order in which they were added, and their total."""

    _names: Names | None = None
    tracks: list[Track] = field(init=False, factory=list)
    total: Track = field(init=False, factory=lambda: Track("total", "total"))
    _running: dict[Track, OperationProgress] = field(init=False, factory=dict)
    _updates: int = field(init=False, default=0)
    _chosen: list[Track] = field(init=False, factory=list)
    _choose_at: int = field(init=False, default=0)

    def add(self, members: Collection[OperationProgress]) -> None:
        """Track the operations of one more wait."""
        names = resolve_names(self._names, members)
        added = {Track(names[member.ref]): member for member in members}
        self.tracks += added
        self._running |= added
        self._choose_at = self._updates

    def update(self) -> None:
        """Update from the newest snapshots; the total is the mean of all, in which one that has ended counts as 1."""
        self._updates += 1
        for track, member in self._running.items():
            track.update(member, self._updates)
        self._running = {track: member for track, member in self._running.items() if track.status == "running"}
        count, lost = len(self.tracks), sum(track.status == "lost" for track in self.tracks)
        ended = count - len(self._running)
        self.total.fraction = (ended + sum(track.fraction for track in self._running)) / max(count, 1)
        self.total.state = f"{ended} of {count} ended" + (f", {lost} failed" if lost else "")
        self.total.time_remaining = last_end(track.time_remaining for track in self._running)

    def choose(self, limit: int) -> list[Track]:
        """Return at most `limit` tracks, in the order in which they were added.

        If there are more, those that were lost, are expected to end next or changed last are chosen, and the choice is
        kept for ten updates. Once all have ended, only those that were lost are returned.
        """
        if len(self.tracks) <= limit:
            return self.tracks
        if self._updates >= self._choose_at or len(self._chosen) > limit or not self._running:
            share, last_change = max(limit // 3, 1) if self._running else limit, attrgetter("changed")
            lost = nlargest(share, (track for track in self.tracks if track.status == "lost"), key=last_change)
            next_to_end = nsmallest(share, self._running, key=_expected_end)
            changed = nlargest(limit, self.tracks, key=last_change) if self._running else []
            chosen = set(islice(dict.fromkeys(chain(lost, next_to_end, changed)), limit))
            self._chosen = [track for track in self.tracks if track in chosen]
            self._choose_at = self._updates + _UPDATES_PER_CHOICE
        return self._chosen


def _expected_end(track: Track) -> tuple[float, float]:
    remaining = track.time_remaining
    return inf if remaining is None else remaining.high, -track.fraction


def resolve_names(names: Names | None, members: Collection[OperationProgress]) -> dict[OperationRef, str]:
    """Return the caller's name for each operation, by default its id, preceded by the schedule's if ids are not unique.

    An exception that the caller's function or mapping raises is logged, and the ids are used.
    """
    refs = [member.ref for member in members]
    are_unique = len({ref.operation_id for ref in refs}) == len(refs)
    named: dict[OperationRef, str] = {}
    try:
        if names is not None:
            find = names if callable(names) else names.get
            named = {ref: str(name) for ref in refs if (name := find(ref))}
    except (Exception, asyncio.CancelledError):  # nobody has cancelled the wait
        _LOGGER.warning("names of operations are not available; their ids are displayed", exc_info=True)
    return {ref: printable(named.get(ref) or str(ref.operation_id if are_unique else ref)) for ref in refs}


@frozen
class Line:
    """One line of a display: pieces of text, each with its style, before and after a bar, unless its width is 0."""

    before: tuple[tuple[str, str], ...]
    bar_width: int = 0
    fraction: float = 1.0
    bar_style: str = ""
    after: tuple[tuple[str, str], ...] = ()


@frozen
class Layout:
    """Divides the width of a display; `measure` returns the columns that a text takes.

    The time remaining is at the right edge if `is_justified`, else after a comma. Characters that `encoding` lacks are
    replaced.
    """

    width: int
    encoding: str
    measure: Callable[[str], int]
    is_justified: bool

    @property
    def _has_unicode(self) -> bool:
        return self.encoding.lower().startswith("utf")

    def lines(self, board: Board, limit: int, footer: Callable[[], str] | None) -> Iterator[Line]:
        """Yield lines for all operations, or for `limit` of them and the number of others, the total and the footer."""
        count = len(board.tracks)
        tracks = board.choose(limit if count > limit + 1 else count)
        name_width = max(self.width // _SHARE, len(board.total.name))
        names = [self.shorten(track.name, name_width, keeps_end=True) for track in (*tracks, board.total)]
        name_width = max(map(self.measure, names))
        for track, name in zip(tracks, names, strict=False):
            yield self._make_line(track, name, name_width)
        if len(tracks) < count:
            yield self._make_note(f"{'' if self._has_unicode else ' '}  and {count - len(tracks)} more")
        if count > 1:
            yield self._make_line(board.total, names[-1], name_width)
        if footer is not None:
            yield self._make_note(footer())

    def _make_line(self, track: Track, name: str, name_width: int) -> Line:
        mark, ascii_mark, style, bar_style = _LOOKS[track.status]
        mark = mark if self._has_unicode else ascii_mark
        bar_width = min(max(self.width // _SHARE, _MIN_BAR), _MAX_BAR) if self.width >= _WIDTH_FOR_BARS else 0
        time_left = format_time_left(track.time_remaining) if self.width >= _WIDTH_FOR_TIME_LEFT else ""
        gap = time_left and (" " if self.is_justified else ", ")
        percent = f"{' ' if bar_width else ''}{format_percent(track.fraction):>5} "
        room = self.width - len(f"{mark}  {percent}{gap}{time_left}") - name_width - bar_width
        state = self.shorten(track.state, room)
        if track.status == "total" and state != track.state:
            return self._make_note(track.state)
        padded = f" {name}{' ' * (name_width - self.measure(name))} "
        state += " " * (self.is_justified and room - self.measure(state)) + gap
        after = ((percent, ""), (state, style), (time_left, "dim"))
        return Line(((mark, style), (padded, "")), bar_width, track.fraction, bar_style, after)

    def _make_note(self, text: str) -> Line:
        return Line(((self.shorten(text, self.width), "dim"),))

    def shorten(self, text: str, width: int, *, keeps_end: bool = False) -> str:
        """Return text, or as much of its beginning as fits `width` columns, followed by an ellipsis.

        With `keeps_end` the ellipsis is in the middle, so that ids remain distinguishable.
        """
        text = text.encode(self.encoding, "replace").decode(self.encoding)
        width, ellipsis = max(width, 0), "…" if self._has_unicode else "..."
        if self.measure(text) <= width:
            return text
        head, tail = text[:width], text[-width:] if keeps_end and width else ""
        while (head or tail) and self.measure(head + ellipsis + tail) > width:
            head, tail = (head[:-1], tail) if len(head) > len(tail) else (head, tail[1:])
        return (head + ellipsis + tail)[:width]


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
        """Close the display if the block raises, for instance on a closed terminal; rich can raise even SystemExit.

        The block awaits nothing, so that a CancelledError does not mean that the caller was cancelled.
        """
        try:
            yield
        except (Exception, SystemExit, asyncio.CancelledError):
            with suppress(Exception, SystemExit, asyncio.CancelledError):
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
