"""Progress bars in a terminal, drawn by rich."""

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import IO, TypeVar

from attrs import define, field, frozen
from rich import get_console
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.errors import LiveError
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import Segment
from rich.text import Text

from schedules_async import SchedulesSession
from schedules_async._waiters.waiter import Waiter
from schedules_async.progress.board import Board, Names, Track, resolve_names
from schedules_async.progress.text import Charset, describe_operation, encodable, format_percent, format_time_left
from schedules_async.progress.tracker import Tracker

Result = TypeVar("Result")

_SHARE = 5  # a bar takes at most a fifth of the width, and so does a name
_MIN_BAR, _MAX_BAR = 8, 40
_PERCENT_WIDTH = 5
_WIDTH_FOR_BARS, _WIDTH_FOR_TIME_LEFT = 40, 70  # columns; a narrower terminal displays none
_ERASE_AND_GO_UP = "\x1b[2K\x1b[1A"


def is_live(console: Console) -> bool:
    """Return True if the console can draw bars: it is a terminal that can move its cursor."""
    return _is_terminal(console.file) and console.is_interactive and not console.legacy_windows


def _is_terminal(stream: IO[str] | None) -> bool:
    """Return True if a stream is a terminal; False also if it is missing, closed, or has no usable `isatty`."""
    try:
        return stream is not None and stream.isatty()
    except (AttributeError, OSError, ValueError):
        return False


class RichProgress(Tracker):
    """Displays waits as bars on a `console` (default: rich's global one), or as lines of text if it is not a terminal.

    `names` is a mapping or a function from operations to names; by default ids are displayed. With `session`, that of
    the waits, the last line counts requests and, after a 429, displays the seconds until the next can be sent. Waits
    that are tracked at the same time share one display. If there are more operations than the terminal has lines,
    those that were lost, are about to end or changed last are displayed. A display that fails is closed and logged;
    the wait continues.
    """

    _display: Live | None = None

    def __init__(
        self, *, names: Names | None = None, session: SchedulesSession | None = None, console: Console | None = None
    ) -> None:
        super().__init__(names=names, session=session)
        self._console = get_console() if console is None else console

    async def track(self, waiter: Waiter[Result]) -> Result:
        """Await a wait while displaying its progress; return or raise what the wait returns or raises."""
        if not is_live(self._console):
            return await self._print_changes(waiter)
        with self.showing(waiter):
            return await (waiter if self._display is not None else self._print_changes(waiter))

    async def _print_changes(self, waiter: Waiter[Result]) -> Result:
        names = resolve_names(self._names, waiter.members)
        members = {member.ref: member for member in waiter.members}
        async for operation in waiter:
            state = describe_operation(operation, members[operation.ref].time_remaining)
            if not self._print_line(f"{names[operation.ref]}: {state}"):
                break
        return await waiter

    def _print_line(self, line: str) -> bool:
        """Print a line; return False if that failed."""
        with self._closing_on_failure():
            self._console.print(Text(encodable(line, self._console.encoding)), soft_wrap=True)
            return True
        return False

    def _open(self) -> None:
        self._screen = Screen(self._board, self._footer)
        self._display = Live(
            self._screen,
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
        if erase := self._screen.erase_wrapped_lines(self._console.width):
            self._console.file.write(erase)
        self._display.refresh()

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


@define(eq=False)
class Screen:
    """The bars of the operations, the total and the footer, in no more lines than the terminal has."""

    _board: Board
    _footer: Callable[[], str] | None
    _lengths: list[int] = field(init=False, factory=list)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = [line for row in self._rows(options) for line in console.render_lines(row, options, pad=False)]
        self._lengths = [Segment.get_line_length(line) for line in lines]
        for line in lines:
            yield from line
            yield Segment.line()

    def erase_wrapped_lines(self, width: int) -> str:
        """Return the control codes that erase the lines into which a narrower terminal has wrapped the last frame."""
        return _ERASE_AND_GO_UP * sum(max(length - 1, 0) // width for length in self._lengths)

    def _rows(self, options: ConsoleOptions) -> Iterator[RenderableType]:
        board, count = self._board, len(self._board.tracks)
        height = options.size.height - 1 - (count > 1) - (self._footer is not None)
        tracks = board.choose(max(height if count <= height else height - 1, 1))
        layout = Layout.fitting([*tracks, board], options)
        yield from map(layout.make_row, tracks)
        if len(tracks) < count:
            yield layout.make_line(f"{layout.charset.marks[0]} and {count - len(tracks)} more", "dim")
        if count > 1 and layout.has_room_for_count(board):
            yield layout.make_row(board)
        elif count > 1:
            yield layout.make_line(board.state)
        if self._footer is not None:
            yield layout.make_line(self._footer(), "dim")


@frozen
class Layout:
    """The widths of the columns; the last column contains the state and the time remaining."""

    width: int
    charset: Charset
    name_width: int
    bar_width: int

    @classmethod
    def fitting(cls, rows: Iterable[Track | Board], options: ConsoleOptions) -> "Layout":
        """Divide the width of the terminal; names and bars leave at least two fifths of it to the other columns."""
        width = options.max_width
        return cls(
            width,
            Charset(options.encoding, cell_len),
            name_width=min(max(cell_len(row.name) for row in rows), max(width // _SHARE, len(Board.name))),
            bar_width=min(max(width // _SHARE, _MIN_BAR), _MAX_BAR) if width >= _WIDTH_FOR_BARS else 0,
        )

    @property
    def _last_width(self) -> int:
        """The width of the last column: what the other columns, each followed by a space, leave."""
        widths = (len(self.charset.marks[0]), self.name_width, self.bar_width, _PERCENT_WIDTH)
        return self.width - sum(width + 1 for width in widths if width)

    def make_row(self, row: Track | Board) -> "Row":
        """Return the row of an operation, or of all together."""
        mark, bar_style, style = self._find_style(row)
        name, time_left = self.charset.shorten_middle(row.name, self.name_width), self._format_time_left(row)
        width = self._last_width - len(time_left)
        state = self.charset.shorten(row.state, width)
        percent = f"{format_percent(row.fraction):>{_PERCENT_WIDTH}} "
        return Row(
            Text.assemble((mark, style), " ", name, " " * (self.name_width - cell_len(name) + 1), end=""),
            ProgressBar(1.0, row.fraction, self.bar_width, complete_style=bar_style, finished_style=bar_style),
            Text.assemble(percent, (state, style), " " * (width - cell_len(state)), (time_left, "dim")),
        )

    def _find_style(self, row: Track | Board) -> tuple[str, str, str]:
        """Return the mark of a row, and the styles of its bar and of its text."""
        running, succeeded, lost = self.charset.marks
        if isinstance(row, Board):
            return running, "blue", ""
        if not row.is_over:
            return running, "cyan", ""
        return (succeeded, "green", "green") if row.is_succeeded else (lost, "red", "red")

    def has_room_for_count(self, board: Board) -> bool:
        """Return True unless the count of ended operations is wider than the last column."""
        return len(board.count) <= self._last_width - len(self._format_time_left(board))

    def _format_time_left(self, row: Track | Board) -> str:
        time_left = format_time_left(row.time_remaining) if self.width >= _WIDTH_FOR_TIME_LEFT else ""
        return time_left and f" {time_left}"

    def make_line(self, text: str, style: str = "") -> Text:
        """Return a line of text alone."""
        return Text(self.charset.shorten(text, self.width), style, no_wrap=True, overflow="crop")


@frozen
class Row:
    """A bar between two texts, or the texts alone if the width of the bar is 0."""

    _left: Text
    _bar: ProgressBar
    _right: Text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._left
        if self._bar.width:
            segments = list(console.render(self._bar, options))  # without colours, of the complete part only
            yield from Segment.adjust_line_length(segments, self._bar.width)
            yield Segment(" ")
        yield self._right
