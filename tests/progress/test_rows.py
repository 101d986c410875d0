import pytest
from attrs import define

from schedules_async import Operation, OperationRef, OperationStatus, TimeRemaining
from schedules_async.progress.board import Board
from schedules_async.progress.rows import Layout, Row
from schedules_async.progress.text import Charset

CHARSET = Charset("utf-8", len)


@define(eq=False)
class Progress:
    """The progress of an operation that is running."""

    ref: OperationRef
    latest: Operation
    time_remaining: TimeRemaining | None
    outcome: None = None


def board_of(count: int) -> Board:
    board = Board(lambda ref: f"import {ref.operation_id}")
    for number in range(count):
        latest = Operation(str(number), "s", OperationStatus.STARTED, percent_complete=50.0, sub_status="Reading")
        board.add([Progress(latest.ref, latest, TimeRemaining(3, 4))])
    board.update()
    return board


def text_of(row: Row | str) -> str:
    if isinstance(row, str):
        return row
    bar = "#" * row.bar_width + " " * bool(row.bar_width)
    return f"{row.mark} {row.name} {bar}{row.percent} {row.state}{row.time_left}"


@pytest.mark.parametrize(
    ("width", "is_justified", "line"),
    [
        (80, True, f"  import 0 {'#' * 16}  50 % Reading{' ' * 29}3-4 s left"),
        (80, False, f"  import 0 {'#' * 16}  50 % Reading, 3-4 s left"),
        (70, False, f"  import 0 {'#' * 14}  50 % Reading, 3-4 s left"),
        (69, False, f"  import 0 {'#' * 13}  50 % Reading"),
        (40, False, "  import 0 ########  50 % Reading"),
        (39, False, "  imp…t 0  50 % Reading"),
        (20, False, "  im… 0  50 % Readi…"),
        (300, False, f"  import 0 {'#' * 40}  50 % Reading, 3-4 s left"),
    ],
)
def test_row_narrow_lacks_time_left_then_bar(width: int, line: str, *, is_justified: bool) -> None:
    (row,) = Layout(width, CHARSET, is_justified).rows(board_of(1), 1, None)
    assert text_of(row) == line
    assert len(text_of(row)) <= width


@pytest.mark.parametrize(("count", "others"), [(1, 0), (4, 0), (5, 0), (6, 2), (500, 496)])
def test_rows_of_many_end_with_the_others(count: int, others: int) -> None:
    """The line that counts the others has room for one."""
    rows = Layout(80, CHARSET, is_justified=True).rows(board_of(count), 4, lambda: "3 requests")
    bars = [*(f"import {number}" for number in range(count - others)), *["total"] * (count > 1)]
    if others:
        bars.insert(-1, f"  and {others} more")
    assert [row if isinstance(row, str) else row.name.strip() for row in rows] == [*bars, "3 requests"]


@pytest.mark.parametrize(("width", "is_text"), [(50, False), (26, False), (25, True)])
def test_total_without_room_for_count_is_text(width: int, *, is_text: bool) -> None:
    *_, total = Layout(width, CHARSET, is_justified=False).rows(board_of(2), 4, None)
    assert text_of(total).endswith("0 of 2 ended")
    assert isinstance(total, str) is is_text
