"""Bars in a terminal, by rich."""

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
from schedules_async.progress.board import Board, Names, Track, Traffic, name_all
from schedules_async.progress.text import describe, spell_percent, spell_remaining
from schedules_async.progress.tracker import Tracker

Result = TypeVar("Result")

_NARROWEST_BAR, _WIDEST_BAR = 8, 40
_REMAINING_WIDTH = 13
_NARROW = 60  # columns, in which the time remaining has no room
_MARKS = {True: ("ok", "x"), False: ("✓", "✗")}
_TOTAL = "total"
_ERASE_AND_GO_UP = "\x1b[2K\x1b[1A"


def is_live(console: Console) -> bool:
    """Tell whether bars can be drawn: on a terminal that is not a dumb one."""
    return console.file.isatty() and console.is_interactive and not console.legacy_windows


class RichProgress(Tracker):
    """Shows waits as bars on a `console` (rich's own unless given); on one that is no terminal, each change as a line.

    `names` are what to call operations: a mapping or a function. With the `session` of the waits the last line counts
    its requests, and says when a 429 keeps it waiting. Several waits that are tracked at once are shown together; of
    more operations than the terminal has lines, the most interesting few.
    """

    def __init__(
        self, *, names: Names | None = None, session: SchedulesSession | None = None, console: Console | None = None
    ) -> None:
        super().__init__(names=names, session=session)
        self._console = get_console() if console is None else console

    async def track(self, waiter: Reawaitable[Result]) -> Result:
        """Show a wait until it ends; give what awaiting it gives, and raise what that raises."""
        if is_live(self._console):
            return await super().track(waiter)
        names = name_all(self._names, waiter.members)
        standings = {member.ref: member for member in waiter.members}
        async for operation in waiter:
            words = describe(operation, standings[operation.ref].time_remaining)
            self._console.print(Text(f"{names[operation.ref]}: {words}"), soft_wrap=True)
        return await waiter

    def _open(self) -> None:
        self._screen = Screen(self._board, self._footer)
        self._display = Live(
            self._screen,
            console=self._console,
            auto_refresh=False,
            redirect_stdout=sys.stdout.isatty(),  # above the bars; what goes elsewhere shall go on to go there
            redirect_stderr=sys.stderr.isatty(),
        )
        self._display.start()

    def _draw(self) -> None:
        if erasing := self._screen.after_resize(self._console.width):
            self._console.file.write(erasing)
        self._display.refresh()

    def _close(self) -> None:
        self._display.stop()


@define(eq=False)
class Screen:
    """The bars one below the other, the total, and the footer: in no more lines than the terminal has."""

    _board: Board
    _footer: Traffic | None
    _lengths: list[int] = field(init=False, factory=list)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = [line for row in self._rows(options) for line in console.render_lines(row, options, pad=False)]
        self._lengths = [Segment.get_line_length(line) for line in lines]
        for line in lines:
            yield from line
            yield Segment.line()

    def after_resize(self, width: int) -> str:
        """Give what to write where lines have become longer than the terminal: it has broken them into several."""
        return _ERASE_AND_GO_UP * sum(max(length - 1, 0) // width for length in self._lengths)

    def _rows(self, options: ConsoleOptions) -> Iterator[RenderableType]:
        board, count = self._board, len(self._board.tracks)
        room = options.size.height - 1 - (count > 1) - (self._footer is not None)
        shown = board.choose(max(room if count <= room else room - 1, 1))
        layout = Layout.fitting((track.name for track in shown), options)
        yield from map(layout.draw_track, shown)
        if len(shown) < count:
            yield layout.draw_rest(count - len(shown))
        if count > 1:
            yield layout.draw_total(board)
        if self._footer is not None:
            yield _to_dim_line(self._footer())


def _to_dim_line(text: str) -> Text:
    return Text(text, style="dim", no_wrap=True, overflow="ellipsis")


@frozen
class Layout:
    """The columns of a screen, and the marks that its terminal can show."""

    marks: tuple[str, str]
    name_width: int
    bar_width: int
    is_narrow: bool

    @classmethod
    def fitting(cls, names: Iterable[str], options: ConsoleOptions) -> "Layout":
        """Divide the terminal's width."""
        widest = max(cell_len(name) for name in (_TOTAL, *names))
        bar_width = min(max(options.max_width // 4, _NARROWEST_BAR), _WIDEST_BAR)
        is_narrow = options.max_width < _NARROW
        return cls(_MARKS[options.ascii_only], min(widest, options.max_width // 3), bar_width, is_narrow)

    def draw_track(self, track: Track) -> Table:
        """Draw one operation; an ended one gives the room of its time remaining to its last words."""
        if not track.is_over:
            return self._row(Text(), track, Text(track.name), Text(track.standing), "cyan")
        mark, style = (self.marks[0], "green") if track.is_succeeded else (self.marks[1], "red")
        return self._row(Text(mark, style), track, Text(track.name), Text(track.standing, style), style)

    def draw_rest(self, count: int) -> Text:
        """Say how many there is no room for."""
        return _to_dim_line(f"{' ' * len(self.marks[0])} and {count} more")

    def draw_total(self, board: Board) -> Table:
        """Draw how far all are together."""
        return self._row(Text(), board, Text(_TOTAL), Text(board.standing), "blue")

    def _row(self, mark: Text, one: Track | Board, name: Text, words: Text, style: str) -> Table:
        grid = Table.grid(padding=(0, 1), expand=True)
        for width in (len(self.marks[0]), self.name_width, self.bar_width):
            grid.add_column(width=width, no_wrap=True)
        grid.add_column(width=5, justify="right", no_wrap=True)
        grid.add_column(ratio=1, no_wrap=True)
        fraction = one.fraction
        bar = ProgressBar(1.0, fraction, width=self.bar_width, complete_style=style, finished_style=style)
        cells: list[RenderableType] = [mark, name, bar, Text(spell_percent(fraction)), words]
        if not (one.is_over or self.is_narrow):
            grid.add_column(width=_REMAINING_WIDTH, justify="right", no_wrap=True)
            remaining = spell_remaining(one.time_remaining)
            cells.append(Text(remaining and f"{remaining} left", "dim"))
        grid.add_row(*cells)
        return grid
