"""Live progress bars for waits: each bar reads its waiter whenever it is drawn."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from attrs import define, field
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from schedules_async import Operation, OperationWaiter, SchedulesSession
from schedules_async.cli.wording import printable, spell_failure, spell_percent, spell_remaining, spell_traffic

_REDRAWN_EVERY = 0.1  # seconds
_NARROWEST_BAR, _WIDEST_BAR = 8, 40
_REMAINING_WIDTH = 13
_MARKS = {True: ("ok", "x"), False: ("✓", "✗")}


def _progress(operation: Operation) -> float:
    """Give how far the work has come; a failed operation only as far as it says itself."""
    return min(max(operation.percent_complete / 100, 0.0), 1.0) if operation.is_failed else operation.fraction


@define(eq=False)
class Bar:
    """The bar of one wait; it never runs backwards. A `lost` wait shows why."""

    name: str
    waiter: OperationWaiter
    lost: str | None = None
    _highest: float = field(init=False, default=0.0)

    @property
    def fraction(self) -> float:
        """Give the highest progress that was drawn or is known now."""
        latest = self.waiter.latest
        self._highest = max(self._highest, 0.0 if latest is None else _progress(latest))
        return self._highest

    @property
    def is_succeeded(self) -> bool:
        """Tell whether the operation ended well."""
        return self.waiter.latest is not None and self.waiter.latest.is_succeeded

    @property
    def trouble(self) -> str | None:
        """Say what went wrong, if anything did."""
        latest = self.waiter.latest
        return spell_failure(latest) if latest is not None and latest.is_failed else self.lost

    @property
    def standing(self) -> str:
        """Say where the operation stands, in a word or two."""
        latest = self.waiter.latest
        if latest is None:
            return "not seen yet"
        return printable((not latest.is_done and latest.sub_status) or latest.raw_status)


@define(eq=False)
class Bars:
    """Bars one below the other, with a line of text under them."""

    footer: Callable[[], str]
    _bars: list[Bar] = field(init=False, factory=list)

    def add(self, name: str, waiter: OperationWaiter) -> Bar:
        """Add a bar for a wait."""
        bar = Bar(printable(name), waiter)
        self._bars.append(bar)
        return bar

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        name_width = min(max((cell_len(bar.name) for bar in self._bars), default=0), options.max_width // 3)
        bar_width = min(max(options.max_width // 4, _NARROWEST_BAR), _WIDEST_BAR)
        for bar in self._bars:
            yield _draw(bar, name_width, bar_width, _MARKS[options.ascii_only])
        yield Text(self.footer(), style="dim", no_wrap=True, overflow="ellipsis")


def _draw(bar: Bar, name_width: int, bar_width: int, marks: tuple[str, str]) -> Table:
    """Lay one bar out; an ended one gives the room of its time remaining to its last words."""
    mark, style, words = _ending(bar, marks)
    is_running = not mark
    grid = Table.grid(padding=(0, 1), expand=True)
    for width in (len(marks[0]), name_width, bar_width):
        grid.add_column(width=width, no_wrap=True)
    grid.add_column(width=5, justify="right", no_wrap=True)
    grid.add_column(ratio=1, no_wrap=True)
    line = ProgressBar(completed=bar.fraction, total=1.0, width=bar_width, complete_style=style, finished_style=style)
    cells: list[RenderableType] = [
        Text(mark, style),
        Text(bar.name),
        line,
        Text(spell_percent(bar.fraction)),
        Text(words, style),
    ]
    if is_running:
        cells[-1] = Text(words)
        grid.add_column(width=_REMAINING_WIDTH, justify="right", no_wrap=True)
        remaining = spell_remaining(bar.waiter.time_remaining)
        cells.append(Text(remaining and f"{remaining} left", "dim"))
    grid.add_row(*cells)
    return grid


def _ending(bar: Bar, marks: tuple[str, str]) -> tuple[str, str, str]:
    """Give mark, colour and words of a bar; no mark while it is running."""
    if bar.trouble is not None:
        return marks[1], "red", bar.trouble
    return (marks[0], "green", bar.standing) if bar.is_succeeded else ("", "cyan", bar.standing)


@define(eq=False)
class Traffic:
    """The line under the bars: what the session has sent, and whether a 429 keeps it waiting."""

    _session: SchedulesSession
    _throttled: int = field(init=False, default=0)
    _requests_then: int = field(init=False, default=-1)

    def __call__(self) -> str:
        """Write the line; a refusal holds everything up until the next request leaves."""
        stats = self._session.stats
        if stats.throttled > self._throttled:
            self._throttled, self._requests_then = stats.throttled, stats.requests
        is_waiting = stats.requests == self._requests_then
        return spell_traffic(stats) + ("; waiting, as a 429 asked" if is_waiting else "")


def is_live(console: Console) -> bool:
    """Tell whether bars can be drawn and are wanted: a terminal, not a dumb one, without NO_COLOR."""
    return console.file.isatty() and console.is_interactive and not console.no_color


@asynccontextmanager
async def live(bars: Bars, console: Console) -> AsyncIterator[None]:
    """Draw bars until the block is left, however it is left; the cursor comes back."""
    with Live(bars, console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as display:
        drawing = asyncio.create_task(_keep_drawing(display))
        try:
            yield
        finally:
            drawing.cancel()
            await asyncio.gather(drawing, return_exceptions=True)


async def _keep_drawing(display: Live) -> None:
    while True:
        display.refresh()
        await asyncio.sleep(_REDRAWN_EVERY)
