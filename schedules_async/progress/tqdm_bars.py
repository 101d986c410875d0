"""Progress bars in a terminal or a notebook, drawn by tqdm."""

import os
import shutil
import sys
from contextlib import ExitStack
from typing import Any

from tqdm.auto import tqdm as auto_tqdm
from tqdm.notebook import tqdm as notebook_tqdm
from tqdm.std import tqdm
from tqdm.utils import disp_len

from schedules_async import SchedulesSession
from schedules_async.progress.board import Layout, Names, Tracker

_MAX_OPERATIONS = 15
_OTHER_LINES = 5  # the count of the remainder, the total, the footer, and two that tqdm leaves free
_NOTEBOOK_SIZE = os.terminal_size((200, 100))  # columns, and more lines than are needed
_NOT_AT_ONCE = 1e-9  # seconds; defers drawing to the first refresh, since a failing constructor leaves a bar open


class TqdmProgress(Tracker):
    """Displays waits as tqdm bars: on stderr if that is a terminal, or in a notebook; at most 16 operations at a time.

    `schedules_async.progress` describes `names`, `session`, and the display. `bar` is the tqdm class to draw with
    (default: `tqdm.auto.tqdm`).
    """

    def __init__(
        self, *, names: Names | None = None, session: SchedulesSession | None = None, bar: type["tqdm[Any]"] = auto_tqdm
    ) -> None:
        super().__init__(names=names, session=session)
        self._bar_class = bar
        self._is_notebook = issubclass(bar, notebook_tqdm)

    def _open(self) -> None:
        self._bars: list[tqdm[Any]] = []
        self._file = sys.stderr
        self._encoding = "utf-8" if self._is_notebook else getattr(sys.stderr, "encoding", None) or "utf-8"

    def _draw(self) -> None:
        size = _NOTEBOOK_SIZE if self._is_notebook else shutil.get_terminal_size()
        lines_above = abs(self._bars[0].pos) if self._bars else 0  # those of the caller's bars
        limit = min(max(size.lines - _OTHER_LINES - lines_above, 1), _MAX_OPERATIONS)
        layout = Layout(size.columns - 1, self._encoding, disp_len, is_justified=False)  # the last column stays empty
        lines = [*layout.lines(self._board, limit, self._footer)]
        while len(self._bars) > len(lines):
            self._bars[-1].leave = False
            self._bars.pop().close()
        while len(self._bars) < len(lines):  # a new bar takes the next free line; without a terminal, tqdm disables it
            self._bars.append(self._bar_class(total=1.0, dynamic_ncols=True, delay=_NOT_AT_ONCE, disable=None))
        for bar, line in zip(self._bars, lines, strict=True):
            bar.n = line.fraction
            bar.desc, bar.unit = ("".join(text for text, _ in pieces) for pieces in (line.before, line.after))
            width = "" if self._is_notebook else f":{line.bar_width}"
            bar.bar_format = f"{{desc}}{{bar{width}}}{{unit}}" if line.bar_width else "{desc}{unit}"
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
