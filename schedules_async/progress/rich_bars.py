"""Progress bars in a terminal, drawn by rich."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from attrs import define, field, frozen
from rich import get_console
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from schedules_async import SchedulesSession
from schedules_async._waiters.waiter import Reawaitable
from schedules_async.progress.board import Board, Names, Track, Traffic, resolve_names
from schedules_async.progress.text import describe_operation, format_percent, format_remaining
from schedules_async.progress.tracker import Tracker

Result = TypeVar("Result")

_NARROWEST_BAR, _WIDEST_BAR = 8, 40
_REMAINING_WIDTH = 13
_NARROW = 60  # columns; below, the time remaining is left out
_MARKS = {True: ("ok", "x"), False: ("✓", "✗")}
_TOTAL = "total"
_ERASE_AND_GO_UP = "\x1b[2K\x1b[1A"


def is_live(console: Console) -> bool:
    """Return True if bars can be drawn: on a terminal that can move its cursor."""
    return console.file.isatty() and console.is_interactive and not console.legacy_windows


class RichProgress(Tracker):
    """Displays waits as bars on a `console` (default: rich's global one), or where it is no terminal as lines of text.

    `names` maps operations to their names, by a mapping or a function; the default is their ids. With the `session`
    of the waits the last line counts its requests and, after a 429, the seconds until the next one may leave. Waits
    that are tracked at the same time share one display. If there are more operations than the terminal has lines,
    those that were lost, are about to end or changed last are displayed.
    """

    def __init__(
        self, *, names: Names | None = None, session: SchedulesSession | None = None, console: Console | None = None
    ) -> None:
        super().__init__(names=names, session=session)
        self._console = get_console() if console is None else console

    async def track(self, waiter: Reawaitable[Result]) -> Result:
        """Await a wait while displaying its progress; return or raise what the wait returns or raises."""
        if is_live(self._console):
            return await super().track(waiter)
        names = resolve_names(self._names, waiter.members)
        members = {member.ref: member for member in waiter.members}
        async for operation in waiter:
            state = describe_operation(operation, members[operation.ref].time_remaining)
            self._console.print(Text(f"{names[operation.ref]}: {state}"), soft_wrap=True)
        return await waiter

    def _open(self) -> None:
        self._screen = Screen(self._board, self._footer)
        self._display = Live(
            self._screen,
            console=self._console,
            auto_refresh=False,
            redirect_stdout=sys.stdout.isatty(),  # only what would be written over the bars
            redirect_stderr=sys.stderr.isatty(),
        )
        self._display.start()

    def _draw(self) -> None:
        if erase := self._screen.erase_wrapped_lines(self._console.width):
            self._console.file.write(erase)
        self._display.refresh()

    def _close(self) -> None:
        self._display.stop()


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
        layout = Layout.fitting((track.name for track in tracks), options)
        yield from map(layout.track_row, tracks)
        if len(tracks) < count:
            yield layout.remainder_row(count - len(tracks))
        if count > 1:
            yield layout.total_row(board)
        if self._footer is not None:
            yield _dim_line(self._footer())


def _dim_line(text: str) -> Text:
    return Text(text, style="dim", no_wrap=True, overflow="ellipsis")


@frozen
class Layout:
    """The widths of the columns, and the marks that the terminal's encoding can represent."""

    marks: tuple[str, str]
    name_width: int
    bar_width: int
    is_narrow: bool

    @classmethod
    def fitting(cls, names: Iterable[str], options: ConsoleOptions) -> "Layout":
        """Divide the width of the terminal."""
        widest = max(cell_len(name) for name in (_TOTAL, *names))
        bar_width = min(max(options.max_width // 4, _NARROWEST_BAR), _WIDEST_BAR)
        is_narrow = options.max_width < _NARROW
        return cls(_MARKS[options.ascii_only], min(widest, options.max_width // 3), bar_width, is_narrow)

    def track_row(self, track: Track) -> Table:
        """Return the row of an operation; once it has ended, its state takes the column of the time remaining too."""
        if not track.is_over:
            return self._row(Text(), track, Text(track.name), Text(track.state), "cyan")
        mark, style = (self.marks[0], "green") if track.is_succeeded else (self.marks[1], "red")
        return self._row(Text(mark, style), track, Text(track.name), Text(track.state, style), style)

    def remainder_row(self, count: int) -> Text:
        """Return the row that counts the operations that are not displayed."""
        return _dim_line(f"{' ' * len(self.marks[0])} and {count} more")

    def total_row(self, board: Board) -> Table:
        """Return the row of all operations together."""
        return self._row(Text(), board, Text(_TOTAL), Text(board.state), "blue")

    def _row(self, mark: Text, one: Track | Board, name: Text, state: Text, style: str) -> Table:
        grid = Table.grid(padding=(0, 1), expand=True)
        for width in (len(self.marks[0]), self.name_width, self.bar_width):
            grid.add_column(width=width, no_wrap=True)
        grid.add_column(width=5, justify="right", no_wrap=True)
        grid.add_column(ratio=1, no_wrap=True)
        fraction = one.fraction
        bar = ProgressBar(1.0, fraction, width=self.bar_width, complete_style=style, finished_style=style)
        cells: list[RenderableType] = [mark, name, bar, Text(format_percent(fraction)), state]
        if not (one.is_over or self.is_narrow):
            grid.add_column(width=_REMAINING_WIDTH, justify="right", no_wrap=True)
            remaining = format_remaining(one.time_remaining)
            cells.append(Text(remaining and f"{remaining} left", "dim"))
        grid.add_row(*cells)
        return grid
