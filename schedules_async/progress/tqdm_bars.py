"""Progress bars in a terminal or a notebook, drawn by tqdm."""

import shutil
import sys
from collections.abc import Iterator
from typing import Any

from attrs import frozen
from tqdm.auto import tqdm as auto_tqdm
from tqdm.notebook import tqdm as notebook_tqdm
from tqdm.std import tqdm

from schedules_async import SchedulesSession
from schedules_async.progress.board import Board, Names, Track
from schedules_async.progress.text import format_percent, format_remaining
from schedules_async.progress.tracker import Tracker

_MAX_OPERATIONS = 15
_OTHER_LINES = 5  # the count of the remainder, the total, the footer, and two that tqdm leaves free
_MAX_NAME_WIDTH = 25
_TOTAL = "total"
_MARKS = {True: ("  ", "ok", "x "), False: (" ", "✓", "✗")}


class TqdmProgress(Tracker):
    """Displays waits as tqdm bars: on stderr if that is a terminal, or in a notebook.

    `names` maps operations to their names, by a mapping or a function; the default is their ids. With the `session`
    of the waits the last line counts its requests and, after a 429, the seconds until the next one may leave. Waits
    that are tracked at the same time share one display. Of more than 15 operations, or more than the terminal has
    lines, those that were lost, are about to end or changed last are displayed. `bar` is the tqdm class to draw with
    (default: `tqdm.auto.tqdm`).
    """

    def __init__(
        self,
        *,
        names: Names | None = None,
        session: SchedulesSession | None = None,
        bar: type["tqdm[Any]"] = auto_tqdm,
    ) -> None:
        super().__init__(names=names, session=session)
        self._bar_class = bar
        self._is_notebook = issubclass(bar, notebook_tqdm)

    def _open(self) -> None:
        encoding = str(getattr(sys.stderr, "encoding", ""))
        self._marks = _MARKS[not (self._is_notebook or encoding.lower().startswith("utf"))]
        self._bars: list[tqdm[Any]] = []

    def _draw(self) -> None:
        rows = list(self._rows())
        for surplus in self._bars[len(rows) :]:
            surplus.leave = False
            surplus.close()
        del self._bars[len(rows) :]
        for number, row in enumerate(rows):
            if number == len(self._bars):
                self._bars.append(self._add(number, row))
            self._refresh(self._bars[number], row)

    def _close(self) -> None:
        for bar in self._bars:
            bar.close()

    def _add(self, number: int, row: "Row") -> "tqdm[Any]":
        is_disabled = False if self._is_notebook else None  # None: disabled by tqdm if stderr is no terminal
        return self._bar_class(
            total=1.0,
            initial=row.fraction,
            desc=row.name,
            unit=row.state,
            bar_format=row.format,
            position=number,
            dynamic_ncols=True,
            disable=is_disabled,
        )

    def _refresh(self, bar: "tqdm[Any]", row: "Row") -> None:
        bar.n, bar.desc, bar.unit, bar.bar_format = row.fraction, row.name, row.state, row.format
        bar.refresh()

    def _rows(self) -> Iterator["Row"]:
        board, count = self._board, len(self._board.tracks)
        tracks = board.choose(self._limit)
        width = min(max([len(_TOTAL), *(len(track.name) for track in tracks)]), _MAX_NAME_WIDTH)
        for track in tracks:
            yield self._row(self._mark(track), track.name[:width].ljust(width), track)
        if len(tracks) < count:
            yield Row(f"{self._marks[0]} and {count - len(tracks)} more")
        if count > 1:
            yield self._row(self._marks[0], _TOTAL.ljust(width), board)
        if self._footer is not None:
            yield Row(self._footer())

    def _mark(self, track: Track) -> str:
        running, succeeded, lost = self._marks
        return lost if track.is_lost else succeeded if track.is_over else running

    def _row(self, mark: str, name: str, one: Track | Board) -> "Row":
        state = f"{format_percent(one.fraction):>5} {one.state}"
        remaining = format_remaining(one.time_remaining)
        line = "{bar}" if self._is_notebook else "{bar:20}"
        return Row(
            f"{mark} {name}", one.fraction, state + (remaining and f", {remaining} left"), f"{{desc}} {line} {{unit}}"
        )

    @property
    def _limit(self) -> int:
        if self._is_notebook:
            return _MAX_OPERATIONS
        return min(max(shutil.get_terminal_size().lines - _OTHER_LINES, 1), _MAX_OPERATIONS)


@frozen
class Row:
    """One line: a name, and for a bar its fraction and the text after it."""

    name: str
    fraction: float = 1.0
    state: str = ""
    format: str = "{desc}"
