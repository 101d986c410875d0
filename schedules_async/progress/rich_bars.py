"""Progress bars in a terminal, drawn by rich."""

import sys
from collections.abc import Collection, Iterator
from typing import TypeVar

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
from schedules_async.progress.board import Board, Names, Track, Traffic, resolve_names
from schedules_async.progress.text import (
    describe_operation,
    encodable,
    format_percent,
    format_time_left,
    shorten,
    shorten_middle,
)
from schedules_async.progress.tracker import Tracker

Result = TypeVar("Result")

_TOTAL = "total"
_SHARE = 5  # a bar takes at most a fifth of the width, and so does a name
_MIN_BAR, _MAX_BAR = 8, 40
_PERCENT_WIDTH = 5
_WIDTH_FOR_BARS, _WIDTH_FOR_TIME_LEFT = 40, 70  # columns; on a narrower terminal they are left out
_MARKS = {True: ("ok", "x"), False: ("✓", "✗")}
_ELLIPSIS = {True: "...", False: "…"}
_ERASE_AND_GO_UP = "\x1b[2K\x1b[1A"


def is_live(console: Console) -> bool:
    """Return True if bars can be drawn: on a terminal that can move its cursor."""
    return console.file.isatty() and console.is_interactive and not console.legacy_windows


class RichProgress(Tracker):
    """Displays waits as bars on a `console` (default: rich's global one), or where it is no terminal as lines of text.

    `names` maps operations to their names, by a mapping or a function; the default is their ids. With the `session`
    of the waits the last line counts its requests and, after a 429, the seconds until the next one may leave. Waits
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
            redirect_stdout=sys.stdout.isatty(),  # only what would be written over the bars
            redirect_stderr=sys.stderr.isatty(),
        )
        try:
            self._display.start()
        except LiveError:  # before 14.1 rich has room for one live display
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
            with self._console.capture():  # discards the frame that cannot be written, which rich has kept
                pass
            self._console.show_cursor()
            raise


@define(eq=False)
class Screen:
    """A bar for each operation, the total and the footer, in no more lines than the terminal has."""

    _board: Board
    _footer: Traffic | None
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
        layout = Layout.fitting(tracks, board, options)
        yield from map(layout.track_row, tracks)
        if len(tracks) < count:
            yield layout.dim_line(f"{' ' * len(layout.marks[0])} and {count - len(tracks)} more")
        if count > 1:
            yield layout.total_row(board)
        if self._footer is not None:
            yield layout.dim_line(self._footer())


@frozen
class Layout:
    """The widths of the columns, and what the encoding of the terminal can represent."""

    width: int
    encoding: str
    marks: tuple[str, str]
    ellipsis: str
    name_width: int
    bar_width: int
    time_left_width: int

    @classmethod
    def fitting(cls, tracks: Collection[Track], board: Board, options: ConsoleOptions) -> "Layout":
        """Divide the width of the terminal; names and bars leave at least two fifths of it to the other columns."""
        width = options.max_width
        widest = max(cell_len(name) for name in (_TOTAL, *(track.name for track in tracks)))
        shown: list[Track | Board] = [*tracks, board]
        return cls(
            width,
            options.encoding,
            _MARKS[options.ascii_only],
            _ELLIPSIS[options.ascii_only],
            name_width=min(widest, max(width // _SHARE, len(_TOTAL))),
            bar_width=min(max(width // _SHARE, _MIN_BAR), _MAX_BAR) if width >= _WIDTH_FOR_BARS else 0,
            time_left_width=max(len(format_time_left(one.time_remaining)) for one in shown)
            if width >= _WIDTH_FOR_TIME_LEFT
            else 0,
        )

    def track_row(self, track: Track) -> "Row":
        """Return the row of an operation."""
        if not track.is_over:
            return self._row("", track, track.name, "cyan")
        mark, style = (self.marks[0], "green") if track.is_succeeded else (self.marks[1], "red")
        return self._row(mark, track, track.name, style, style)

    def total_row(self, board: Board) -> "Row | Text":
        """Return the row of all operations together; on a very narrow terminal, their count alone."""
        if len(board.count) > self._state_width(self._time_left(board)):
            return self._text(board.state, self.width)
        return self._row("", board, _TOTAL, "blue")

    def dim_line(self, text: str) -> Text:
        """Return a line of text in a faint colour."""
        return self._text(text, self.width, "dim")

    def _row(self, mark: str, one: Track | Board, name: str, bar_style: str, style: str = "") -> "Row":
        time_left = self._time_left(one)
        bar = ProgressBar(1.0, one.fraction, self.bar_width, complete_style=bar_style, finished_style=bar_style)
        shortened = shorten_middle(encodable(name, self.encoding), self.name_width, self.ellipsis, cell_len)
        cells: list[tuple[int, RenderableType]] = [
            (len(self.marks[0]), Text(mark, style)),
            (self.name_width, Text(shortened)),
            (self.bar_width, bar),
            (_PERCENT_WIDTH, Text(format_percent(one.fraction), justify="right")),
            (self._state_width(time_left), self._text(one.state, self._state_width(time_left), style)),
            (self.time_left_width if time_left else 0, Text(time_left, "dim", justify="right")),
        ]
        return Row(tuple((width, cell) for width, cell in cells if width))

    def _time_left(self, one: Track | Board) -> str:
        return format_time_left(one.time_remaining) if self.time_left_width else ""

    def _state_width(self, time_left: str) -> int:
        """Return the width that the other columns leave, each followed by a space."""
        widths = [len(self.marks[0]), self.name_width, self.bar_width, _PERCENT_WIDTH]
        widths += [self.time_left_width] if time_left else []
        return self.width - sum(width + 1 for width in widths if width)

    def _text(self, text: str, width: int, style: str = "") -> Text:
        shortened = shorten(encodable(text, self.encoding), width, self.ellipsis, cell_len)
        return Text(shortened, style, no_wrap=True, overflow="crop")


@frozen
class Row:
    """Cells side by side, each with its width, with a space between them."""

    cells: tuple[tuple[int, RenderableType], ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for number, (width, cell) in enumerate(self.cells):
            if number:
                yield Segment(" ")
            lines = console.render_lines(cell, options.update(width=width))  # none for an empty bar without colours
            yield from Segment.adjust_line_length(next(iter(lines), []), width)
