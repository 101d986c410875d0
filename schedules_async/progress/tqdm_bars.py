"""Bars by tqdm, in a terminal or a notebook."""

import shutil
import sys
from collections.abc import Iterator
from typing import Any

from attrs import frozen
from tqdm.auto import tqdm as fitting_tqdm
from tqdm.notebook import tqdm as notebook_tqdm
from tqdm.std import tqdm

from schedules_async import SchedulesSession
from schedules_async.progress.board import Board, Names, Track
from schedules_async.progress.text import spell_percent, spell_remaining
from schedules_async.progress.tracker import Tracker

_MOST_OPERATIONS = 15
_BESIDES = 5  # lines: how many more, the total, the footer, and two that tqdm leaves free
_WIDEST_NAME = 25
_TOTAL = "total"
_MARKS = {True: ("  ", "ok", "x "), False: (" ", "✓", "✗")}


class TqdmProgress(Tracker):
    """Shows waits as bars of tqdm's: on stderr where that is a terminal, or in a notebook.

    `names` are what to call operations: a mapping or a function. With the `session` of the waits the last line counts
    its requests, and says when a 429 keeps it waiting. Several waits that are tracked at once are shown together; of
    more operations than there is room for, the most interesting few. `bar` is the class of tqdm's to draw with, the
    one that fits the place unless given.
    """

    def __init__(
        self,
        *,
        names: Names | None = None,
        session: SchedulesSession | None = None,
        bar: type["tqdm[Any]"] = fitting_tqdm,
    ) -> None:
        super().__init__(names=names, session=session)
        self._make = bar
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
            self._show(self._bars[number], row)

    def _close(self) -> None:
        for bar in self._bars:
            bar.close()

    def _add(self, number: int, row: "Row") -> "tqdm[Any]":
        is_disabled = False if self._is_notebook else None  # by tqdm itself, where stderr is no terminal
        return self._make(
            total=1.0,
            initial=row.fraction,
            desc=row.name,
            unit=row.words,
            bar_format=row.format,
            position=number,
            dynamic_ncols=True,
            disable=is_disabled,
        )

    def _show(self, bar: "tqdm[Any]", row: "Row") -> None:
        bar.n, bar.desc, bar.unit, bar.bar_format = row.fraction, row.name, row.words, row.format
        bar.refresh()

    def _rows(self) -> Iterator["Row"]:
        board, count = self._board, len(self._board.tracks)
        shown = board.choose(self._room)
        width = min(max([len(_TOTAL), *(len(track.name) for track in shown)]), _WIDEST_NAME)
        for track in shown:
            yield self._bar(self._mark(track), track.name[:width].ljust(width), track)
        if len(shown) < count:
            yield Row(f"{self._marks[0]} and {count - len(shown)} more")
        if count > 1:
            yield self._bar(self._marks[0], _TOTAL.ljust(width), board)
        if self._footer is not None:
            yield Row(self._footer())

    def _mark(self, track: Track) -> str:
        running, succeeded, lost = self._marks
        return lost if track.is_lost else succeeded if track.is_over else running

    def _bar(self, mark: str, name: str, one: Track | Board) -> "Row":
        words = f"{spell_percent(one.fraction):>5} {one.standing}"
        remaining = spell_remaining(one.time_remaining)
        line = "{bar}" if self._is_notebook else "{bar:20}"
        return Row(
            f"{mark} {name}", one.fraction, words + (remaining and f", {remaining} left"), f"{{desc}} {line} {{unit}}"
        )

    @property
    def _room(self) -> int:
        if self._is_notebook:
            return _MOST_OPERATIONS
        return min(max(shutil.get_terminal_size().lines - _BESIDES, 1), _MOST_OPERATIONS)


@frozen
class Row:
    """One line: a name, and for a bar how much of it is full and what stands behind it."""

    name: str
    fraction: float = 1.0
    words: str = ""
    format: str = "{desc}"
