"""The rows of a display: a bar for each operation, the total, and lines of text, none wider than the display."""

from collections.abc import Callable, Iterator

from attrs import frozen

from schedules_async.progress.board import Board, Track
from schedules_async.progress.text import Charset, format_percent, format_time_left

_SHARE = 5  # a bar takes at most a fifth of the width, and so does a name; the rest has at least two fifths
_MIN_BAR, _MAX_BAR = 8, 40
_WIDTH_FOR_BARS, _WIDTH_FOR_TIME_LEFT = 40, 70  # columns; a narrower display has none
_PERCENT_WIDTH = 5


@frozen
class Row:
    """One operation, or all together: a mark, a name, a bar unless its width is 0, and the text after it.

    The name is padded, and the state is followed by what separates it from the time remaining.
    """

    status: str
    mark: str
    name: str
    fraction: float
    bar_width: int
    percent: str
    state: str
    time_left: str


@frozen
class Layout:
    """Divides the width of a display; the time remaining stands at its right edge, or follows the state."""

    width: int
    charset: Charset
    is_justified: bool

    def rows(self, board: Board, limit: int, footer: Callable[[], str] | None) -> Iterator[Row | str]:
        """Yield a row for each operation, or for `limit` of them and the number of others, the total and the footer."""
        count = len(board.tracks)
        tracks = board.choose(limit if count > limit + 1 else count)
        shown: list[Track | Board] = [*tracks, board]
        names = [
            self.charset.shorten(one.name, max(self.width // _SHARE, len(Board.name)), keeps_end=True) for one in shown
        ]
        name_width = max(map(self.charset.measure, names))
        rows = [self._make_row(*pair, name_width) for pair in zip(shown, names, strict=True)]
        yield from rows[:-1]
        if len(tracks) < count:
            yield self._shorten(f"{self.charset.marks['running']} and {count - len(tracks)} more")
        if count > 1:
            yield rows[-1] if rows[-1].state.startswith(board.state) else self._shorten(board.state)
        if footer is not None:
            yield self._shorten(footer())

    def _make_row(self, one: Track | Board, name: str, name_width: int) -> Row:
        measure, mark = self.charset.measure, self.charset.marks[one.status]
        bar_width = min(max(self.width // _SHARE, _MIN_BAR), _MAX_BAR) if self.width >= _WIDTH_FOR_BARS else 0
        time_left = format_time_left(one.time_remaining) if self.width >= _WIDTH_FOR_TIME_LEFT else ""
        gap = time_left and (" " if self.is_justified else ", ")
        widths = (len(mark), name_width, bar_width, _PERCENT_WIDTH)
        room = self.width - sum(width + 1 for width in widths if width) - len(gap + time_left)
        state = self.charset.shorten(one.state, room)
        return Row(
            status=one.status,
            mark=mark,
            name=name + " " * (name_width - measure(name)),
            fraction=one.fraction,
            bar_width=bar_width,
            percent=f"{format_percent(one.fraction):>{_PERCENT_WIDTH}}",
            state=state + " " * (self.is_justified and room - measure(state)) + gap,
            time_left=time_left,
        )

    def _shorten(self, text: str) -> str:
        return self.charset.shorten(text, self.width)
