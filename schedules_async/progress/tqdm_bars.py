"""Progress bars in a terminal or a notebook, drawn by tqdm."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from attrs import frozen
from tqdm.auto import tqdm as auto_tqdm
from tqdm.notebook import tqdm as notebook_tqdm
from tqdm.std import tqdm
from tqdm.utils import disp_len

from schedules_async import SchedulesSession
from schedules_async.progress.board import Board, Names, Track
from schedules_async.progress.text import Charset, format_percent, format_time_left
from schedules_async.progress.tracker import Tracker

_MAX_OPERATIONS = 15
_OTHER_LINES = 5  # the count of the remainder, the total, the footer, and two that tqdm leaves free
_SHARE = 5  # a name takes at most a fifth of the width
_MAX_NAME_WIDTH, _MAX_BAR_WIDTH = 25, 20
_WIDTH_FOR_BARS = 40  # columns; a narrower terminal displays none
_NOTEBOOK_WIDTH = 200
_PERCENT = "100 % "
_NOT_AT_ONCE = (
    1e-9  # seconds; defers drawing from the constructor, where the bar could not be closed yet, to the first refresh
)


class TqdmProgress(Tracker):
    """Displays waits as tqdm bars: on stderr if that is a terminal, or in a notebook.

    `names` is a mapping or a function from operations to names; by default ids are displayed. With `session`, that of
    the waits, the last line counts requests and, after a 429, displays the seconds until the next can be sent. Waits
    that are tracked at the same time share one display. If there are more than 15 operations, or more than the terminal
    has lines, those that were lost, are about to end or changed last are displayed. A display that fails is closed and
    logged; the wait continues. `bar` is the tqdm class to draw with (default: `tqdm.auto.tqdm`).
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
        self._bars: list[tqdm[Any]] = []
        self._file = sys.stderr
        encoding = None if self._is_notebook else getattr(sys.stderr, "encoding", None)
        self._charset = Charset(encoding or "utf-8", disp_len)

    def _draw(self) -> None:
        rows = list(self._rows())
        for surplus in self._bars[len(rows) :]:
            surplus.leave = False
            surplus.close()
        del self._bars[len(rows) :]
        for number, row in enumerate(rows):
            if number == len(self._bars):
                self._bars.append(self._new_bar(row))
            bar = self._bars[number]
            bar.n, bar.desc, bar.unit, bar.bar_format = row.fraction, row.name, row.state, row.format
            bar.refresh()

    def _close(self) -> None:
        """Close all bars, and write their last frame above any bars of the caller."""
        lines = [str(bar) for bar in self._bars if not (bar.disable or self._is_notebook)]
        with ExitStack() as stack:
            for line in reversed(lines):
                stack.callback(self._bar_class.write, line, file=self._file)
            for bar in self._bars:
                bar.leave = self._is_notebook
                stack.callback(bar.close)

    def _new_bar(self, row: "Row") -> "tqdm[Any]":
        """Return a bar on the next free line, below any bars of the caller."""
        is_disabled = False if self._is_notebook else None  # None: tqdm disables it unless stderr is a terminal
        return self._bar_class(
            total=1.0,
            initial=row.fraction,
            desc=row.name,
            unit=row.state,
            bar_format=row.format,
            dynamic_ncols=True,
            delay=_NOT_AT_ONCE,
            disable=is_disabled,
        )

    def _rows(self) -> Iterator["Row"]:
        board, count = self._board, len(self._board.tracks)
        tracks = board.choose(self._limit)
        running, succeeded, lost = self._charset.marks
        all_names = (*(track.name for track in tracks), board.name)
        width = max(min(self._columns // _SHARE, _MAX_NAME_WIDTH), len(Board.name))
        names = [self._charset.shorten_middle(name, width) for name in all_names]
        width = max(map(disp_len, names))
        *names, total = (name + " " * (width - disp_len(name)) for name in names)
        for track, name in zip(tracks, names, strict=True):
            mark = lost if track.is_lost else succeeded if track.is_over else running
            yield self._row(f"{mark} {name}", track)
        if len(tracks) < count:
            yield self._text_row(f"{running} and {count - len(tracks)} more")
        if count > 1:
            yield self._total_row(board, f"{running} {total}")
        if self._footer is not None:
            yield self._text_row(self._footer())

    def _total_row(self, board: Board, prefix: str) -> "Row":
        """Return the row of all operations together, or their count alone if the terminal is very narrow."""
        if len(board.count) > self._state_width(prefix, format_time_left(board.time_remaining)):
            return self._text_row(board.state)
        return self._row(prefix, board)

    def _row(self, prefix: str, one: Track | Board) -> "Row":
        time_left = format_time_left(one.time_remaining)
        state = self._charset.shorten(one.state, self._state_width(prefix, time_left))
        text = f"{format_percent(one.fraction):>5} {state}{time_left and ', '}{time_left}"
        if not self._bar_width:
            return self._text_row(f"{prefix} {text}")
        bar = "{bar}" if self._is_notebook else f"{{bar:{self._bar_width}}}"
        return Row(prefix, one.fraction, text, f"{{desc}} {bar} {{unit}}")

    def _state_width(self, prefix: str, time_left: str) -> int:
        """Return the width that the other parts of a line leave; the last column of the terminal stays empty."""
        bar_width = self._bar_width and self._bar_width + len(" ")
        time_left_width = len(time_left and f", {time_left}")
        return self._columns - 1 - disp_len(f"{prefix} ") - bar_width - len(_PERCENT) - time_left_width

    def _text_row(self, text: str) -> "Row":
        return Row(self._charset.shorten(text, self._columns - 1))

    @property
    def _columns(self) -> int:
        return _NOTEBOOK_WIDTH if self._is_notebook else shutil.get_terminal_size().columns

    @property
    def _bar_width(self) -> int:
        return min(self._columns // 4, _MAX_BAR_WIDTH) if self._columns >= _WIDTH_FOR_BARS else 0

    @property
    def _limit(self) -> int:
        if self._is_notebook:
            return _MAX_OPERATIONS
        lines_above = abs(self._bars[0].pos) if self._bars else 0
        lines = shutil.get_terminal_size().lines - _OTHER_LINES - lines_above
        return min(max(lines, 1), _MAX_OPERATIONS)


@frozen
class Row:
    """One line: a name and, for a bar, its fraction and the text after it."""

    name: str
    fraction: float = 1.0
    state: str = ""
    format: str = "{desc}"
