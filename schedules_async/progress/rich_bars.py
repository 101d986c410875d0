"""Progress bars in a terminal, drawn by rich."""

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import IO

from rich import get_console
from rich.cells import cell_len
from rich.console import Console, Group
from rich.errors import LiveError
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import Segment
from rich.text import Text

from schedules_async import SchedulesSession
from schedules_async._waiters.waiter import Waiter
from schedules_async.progress.board import Board, Layout, Line, Names, Result, Tracker, resolve_names
from schedules_async.progress.text import describe_operation

_ERASE_AND_GO_UP = "\x1b[2K\x1b[1A"


def is_live(console: Console) -> bool:
    """Return True if the console can draw bars: it is a terminal that has columns and can move its cursor."""
    return _is_terminal(console.file) and console.is_interactive and console.width > 0 and not console.legacy_windows


def _is_terminal(stream: IO[str] | None) -> bool:
    """Return True if a stream is a terminal; False also if it is missing, closed, or has no usable `isatty`."""
    with suppress(AttributeError, OSError, ValueError):
        return stream is not None and stream.isatty()
    return False


class RichProgress(Tracker):
    """Displays waits as bars on a `console` (default: rich's global one), or as lines of text if it is not a terminal.

    `schedules_async.progress` describes `names`, `session`, and the display.
    """

    _display: Live | None = None

    def __init__(
        self, *, names: Names | None = None, session: SchedulesSession | None = None, console: Console | None = None
    ) -> None:
        super().__init__(names=names, session=session)
        self._console = get_console() if console is None else console

    async def track(self, waiter: Waiter[Result]) -> Result:
        """Await a wait while displaying its progress; return or raise what the wait returns or raises."""
        if is_live(self._console):
            with self.showing(waiter):
                if self._display is not None:
                    return await waiter
        names = resolve_names(self._names, waiter.members)
        members = {member.ref: member for member in waiter.members}
        encoding = self._console.encoding
        async for operation in waiter:
            line = f"{names[operation.ref]}: {describe_operation(operation, members[operation.ref].time_remaining)}"
            with self._closing_on_failure():
                self._console.print(Text(line.encode(encoding, "replace").decode(encoding)), soft_wrap=True)
                continue
            break  # the line could not be printed, nor could the next
        return await waiter

    def _open(self) -> None:
        self._lines: list[Text] = []
        self._display = Live(
            console=self._console,
            auto_refresh=False,
            redirect_stdout=_is_terminal(sys.stdout),  # only if its output would overwrite the bars
            redirect_stderr=_is_terminal(sys.stderr),
        )
        try:
            self._display.start()
        except LiveError:  # before version 14.1, rich allows one live display only
            self._display = None

    def _draw(self) -> None:
        if self._display is None:
            return
        wrapped = sum(max(line.cell_len - 1, 0) // self._console.width for line in self._lines)
        if wrapped:  # a narrower terminal has wrapped the lines of the last frame
            self._console.file.write(_ERASE_AND_GO_UP * wrapped)
        self._lines = draw_lines(self._board, self._footer, self._console)
        self._display.update(Group(*self._lines), refresh=True)

    def _close(self) -> None:
        if self._display is None:
            return
        try:
            self._display.stop()
        except (Exception, SystemExit):
            with self._console.capture():  # discards the frame that rich has kept and cannot write
                pass
            self._console.show_cursor()
            raise


def draw_lines(board: Board, footer: Callable[[], str] | None, console: Console) -> list[Text]:
    """Return a line for each row of a board, and the footer, in no more lines than the terminal has."""
    layout = Layout(console.width, console.encoding, cell_len, is_justified=True)
    limit = max(console.height - 2 - (len(board.tracks) > 1) - (footer is not None), 1)
    return [_draw_line(line, console) for line in layout.lines(board, limit, footer)]


def _draw_line(line: Line, console: Console) -> Text:
    bar = ProgressBar(1.0, line.fraction, line.bar_width, complete_style=line.bar_style, finished_style=line.bar_style)
    segments = list(console.render(bar)) if line.bar_width else []  # without colours, of the complete part only
    pieces = [(text, style or "") for text, style, _ in Segment.adjust_line_length(segments, line.bar_width)]
    return Text.assemble(*line.before, *pieces, *line.after, no_wrap=True, overflow="crop")
