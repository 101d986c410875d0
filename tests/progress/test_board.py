import asyncio
import logging
from typing import Any, cast

import pytest
from attrs import define
from event_loops import turns
from tqdm.utils import disp_len

from schedules_async import (
    Operation,
    OperationFailedError,
    OperationGroupError,
    OperationRef,
    OperationStatus,
    OperationWaiter,
    SchedulesSession,
    TimeRemaining,
)
from schedules_async.errors import NotFoundError
from schedules_async.progress.board import Board, Layout, Line, Tracker, resolve_names
from schedules_async.progress.text import format_stats
from schedules_async.testing import FakeSchedules, operation_answer, throttled


@define(eq=False)
class Progress:
    """The progress of an operation, set by the test."""

    ref: OperationRef
    latest: Operation | None = None
    time_remaining: TimeRemaining | None = None
    outcome: Operation | Exception | None = None

    def advance(self, percent: float, status: str = "Started", **facts: Any) -> None:
        facts = {"percent_complete": percent, **facts}
        self.latest = Operation(self.ref.operation_id, self.ref.schedule_id, OperationStatus(status), **facts)
        if self.latest.is_done:
            self.outcome = self.latest


def members_of(count: int) -> list[Progress]:
    return [Progress(OperationRef("s", str(number))) for number in range(count)]


def names(board: Board, limit: int) -> list[str]:
    return [track.name for track in board.choose(limit)]


def test_track_changes_fraction_never_falls() -> None:
    board, (member,) = Board(), members_of(1)
    board.add([member])
    (track,) = board.tracks
    states = [(track.fraction, track.state)]
    for percent, facts in (
        (50, {"sub_status": "Read\x1bing"}),
        (20, {}),
        (60, {}),
        (30, {"status": "Failed", "failure_description": "No\nroom"}),
    ):
        member.advance(percent, **facts)
        board.update()
        states.append((track.fraction, track.state))
    assert states == [
        (0.0, "no answer yet"),
        (0.5, "Read ing"),
        (0.5, "Started"),
        (0.6, "Started"),
        (0.6, "No room"),
    ]
    assert track.status == "lost"


def test_track_ended_is_full_or_has_the_error() -> None:
    board, (good, lost) = Board(), members_of(2)
    board.add([good, lost])
    good.advance(0, "Succeeded")
    lost.outcome = NotFoundError("404", ref=lost.ref)
    board.update()
    assert [(track.fraction, track.status, track.state) for track in board.tracks] == [
        (1.0, "succeeded", "Succeeded"),
        (0.0, "lost", "operation not found: 404"),
    ]
    assert (board.total.fraction, board.total.state) == (1.0, "2 of 2 ended, 1 failed")


def test_total_changes_fraction_never_falls() -> None:
    board, both = Board(), members_of(2)
    board.update()
    assert board.total.fraction == 0.0
    board.add(both)
    fractions = []
    for first, second in ((50, 20), (10, 40), (0, 0)):
        both[0].advance(first)
        both[1].advance(second)
        board.update()
        fractions.append(board.total.fraction)
    both[0].advance(0, "Failed")
    board.update()
    assert [*fractions, board.total.fraction] == [0.35, 0.45, 0.45, 0.7]


def test_total_time_remaining_needs_every_running_operation() -> None:
    board, members = Board(), members_of(3)
    board.add(members)
    board.update()
    assert board.total.time_remaining is None
    members[0].time_remaining = TimeRemaining(1, 9)
    board.update()
    assert board.total.time_remaining is None
    members[1].time_remaining = TimeRemaining(2, 3)
    members[2].advance(100, "Succeeded")
    board.update()
    assert board.total.time_remaining == TimeRemaining(2, 9)
    assert board.tracks[2].time_remaining is None


def test_choose_of_many_prefers_lost_ending_and_changed() -> None:
    board, members = Board(), members_of(1000)
    board.add(members)
    assert names(board, 1000) == [str(number) for number in range(1000)]
    board.update()
    members[900].advance(10)
    members[500].advance(0, "Failed")
    members[700].advance(1)
    members[700].time_remaining = TimeRemaining(1, 2)
    board.update()
    members[3].advance(5)
    board.update()
    for _ in range(10):
        board.update()
    assert names(board, 3) == ["3", "500", "700"]
    assert len(board.choose(20)) == 3, "the choice is kept for ten updates"


def test_choose_keeps_choice_unless_limit_shrinks() -> None:
    board, members = Board(), members_of(50)
    board.add(members)
    board.update()
    chosen = names(board, 9)
    assert len(chosen) == 9
    for member in members[40:]:
        member.advance(50)
    choices = []
    for _ in range(10):
        board.update()
        choices.append(names(board, 9))
    assert choices[:9] == [chosen] * 9
    assert choices[9] == [str(number) for number in range(40, 49)]
    assert len(names(board, 5)) == 5


def test_choose_after_the_end_returns_the_lost() -> None:
    board, members = Board(), members_of(50)
    board.add(members)
    for number, member in enumerate(members):
        member.advance(100, "Failed" if number % 20 == 7 else "Succeeded")
    board.update()
    assert names(board, 10) == ["7", "27", "47"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, ["a", "b"]),
        ({OperationRef("s", "a"): "im\nport"}, ["im port", "b"]),
        (lambda ref: f"<{ref.operation_id}>", ["<a>", "<b>"]),
    ],
)
def test_names_default_to_operation_ids(given: Any, expected: list[str]) -> None:
    members = [Progress(OperationRef("s", "a")), Progress(OperationRef("s", "b"))]
    assert list(resolve_names(given, members).values()) == expected


def test_names_raise_ids_are_used_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    members = [Progress(OperationRef("s", "a")), Progress(OperationRef("s", "b"))]
    names = {OperationRef("s", "a"): "import"}
    assert list(resolve_names(names.__getitem__, members).values()) == ["a", "b"]
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "KeyError" in caplog.text


class Ambiguous(dict[OperationRef, Any]):
    """A mapping, or a name, that is neither true nor false, as pandas has them."""

    def __bool__(self) -> bool:
        raise ValueError("ambiguous")

    def __str__(self) -> str:
        raise ValueError("unprintable")


class Unprintable:
    """A name without a text."""

    def __str__(self) -> str:
        raise ValueError("unprintable")


@pytest.mark.parametrize("name", [Ambiguous(), Unprintable()], ids=lambda name: type(name).__name__)
def test_names_without_text_are_replaced_by_ids(name: object) -> None:
    members = [Progress(OperationRef("s", "a")), Progress(OperationRef("s", "b"))]
    assert list(resolve_names(lambda _: cast("str", name), members).values()) == ["a", "b"]
    names = Ambiguous({OperationRef("s", "a"): "import"})
    assert list(resolve_names(names, members).values()) == ["import", "b"]


def test_names_raise_cancelled_error_ids_are_used() -> None:
    """Nobody has cancelled the wait."""

    def raise_cancelled_error(_: OperationRef) -> str:
        raise asyncio.CancelledError

    assert list(resolve_names(raise_cancelled_error, [Progress(OperationRef("s", "a"))]).values()) == ["a"]


def test_names_of_equal_ids_include_the_schedule() -> None:
    members = [Progress(OperationRef("s", "a")), Progress(OperationRef("t", "a"))]
    assert list(resolve_names(None, members).values()) == ["s/a", "t/a"]


async def iterate(waiter: OperationWaiter) -> list[float]:
    return [operation.percent_complete async for operation in waiter]


async def test_footer_throttled_counts_down_the_seconds(server: FakeSchedules, session: SchedulesSession) -> None:
    ref = server.script_operation(throttled(5.0), operation_answer("Started"), operation_answer("Succeeded"))
    lines = set()
    waiting = asyncio.create_task(iterate(session.wait_for_operation(*ref)))
    while not waiting.done():
        lines.add(format_stats(session.stats))
        await asyncio.sleep(0)
    assert "1 request, 0 saved by 304, 1 answered 429; throttled, 5 s left" in lines
    assert format_stats(session.stats) == "3 requests, 0 saved by 304, 1 answered 429"


def layout_of(width: int, *, is_justified: bool = False) -> Layout:
    return Layout(width, "utf-8", len, is_justified)


def board_of(count: int) -> Board:
    board, members = Board(lambda ref: f"import {ref.operation_id}"), members_of(count)
    for member in members:
        member.advance(50, sub_status="Reading")
        member.time_remaining = TimeRemaining(3, 4)
    board.add(members)
    board.update()
    return board


def text_of(line: Line) -> str:
    before, after = ("".join(text for text, _ in pieces) for pieces in (line.before, line.after))
    return before + "#" * line.bar_width + after


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
    (row,) = layout_of(width, is_justified=is_justified).lines(board_of(1), 1, None)
    assert text_of(row) == line
    assert len(text_of(row)) <= width


@pytest.mark.parametrize(("count", "others"), [(1, 0), (4, 0), (5, 0), (6, 2), (500, 496)])
def test_rows_of_many_end_with_the_others(count: int, others: int) -> None:
    """The line that counts the others has room for one."""
    lines = layout_of(80).lines(board_of(count), 4, lambda: "3 requests")
    bars = [*(f"import {number}" for number in range(count - others)), *["total"] * (count > 1)]
    if others:
        bars.insert(-1, f"  and {others} more")
    names = [text_of(line) if not line.bar_width else line.before[1][0].strip() for line in lines]
    assert names == [*bars, "3 requests"]


@pytest.mark.parametrize(("width", "is_text"), [(50, False), (26, False), (25, True)])
def test_total_without_room_for_count_is_text(width: int, *, is_text: bool) -> None:
    *_, total = layout_of(width).lines(board_of(2), 4, None)
    assert text_of(total).endswith("0 of 2 ended")
    assert (text_of(total) == "0 of 2 ended") is is_text


@pytest.mark.parametrize(
    ("text", "width", "end", "middle"),
    [
        ("Reading", 7, "Reading", "Reading"),
        ("Reading", 6, "Readi…", "Rea…ng"),
        ("Reading", 1, "…", "…"),
        ("漢字漢字", 5, "漢字…", "漢…字"),
    ],
)
def test_shorten_keeps_beginning_or_both_ends(text: str, width: int, end: str, middle: str) -> None:
    layout = Layout(80, "utf-8", disp_len, is_justified=False)
    assert layout.shorten(text, width) == end
    assert layout.shorten(text, width, keeps_end=True) == middle


def test_shorten_narrower_than_ellipsis_cuts_it() -> None:
    layout = Layout(80, "ascii", len, is_justified=False)
    assert layout.shorten("Reading", 2) == ".."
    assert layout.shorten("Reading", -1) == ""


SUCCEEDED = operation_answer("Succeeded")


class Recorder(Tracker):
    """Records frames as lists of text, and counts how often the display was opened and closed."""

    opened = closed = 0
    failure: BaseException | None = None

    def _open(self) -> None:
        self.opened += 1
        self.frames: list[list[str]] = []

    def _draw(self) -> None:
        self.frames.append([f"{track.name} {track.fraction:g}" for track in self._board.tracks])
        if self.failure is not None:
            raise self.failure

    def _close(self) -> None:
        self.closed += 1


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelname == "WARNING"]


async def test_track_returns_the_result_of_the_wait(server: FakeSchedules, session: SchedulesSession) -> None:
    refs = [server.script_operation(SUCCEEDED, operation_id=name) for name in "ab"]
    recorder = Recorder()
    operation = await recorder.track(session.wait_for_operation(*refs[0]))
    assert operation.is_succeeded
    assert recorder.frames[-1] == ["a 1"]
    operations = await recorder.track(session.wait_for_operations(refs))
    assert [operation.ref for operation in operations] == refs
    assert recorder.frames[-1] == ["a 1", "b 1"]
    assert (recorder.opened, recorder.closed) == (2, 2)


async def test_track_raises_the_error_of_the_wait(server: FakeSchedules, session: SchedulesSession) -> None:
    failing = server.script_operation(operation_answer("Failed", percent_complete=30), operation_id="a")
    recorder = Recorder()
    with pytest.raises(OperationFailedError):
        await recorder.track(session.wait_for_operation(*failing))
    with pytest.raises(OperationGroupError):
        await recorder.track(session.wait_for_operations([failing, OperationRef(failing.schedule_id, "b")]))
    assert recorder.frames[-1] == ["a 0.3", "b 0"]
    assert recorder.closed == 2


async def test_track_concurrently_shares_one_display(server: FakeSchedules, session: SchedulesSession) -> None:
    refs = [server.start_operation(seconds, operation_id=f"{seconds} s") for seconds in (5, 60)]
    recorder = Recorder()
    await asyncio.gather(*(recorder.track(session.wait_for_operation(*ref)) for ref in refs))
    assert (recorder.opened, recorder.closed) == (1, 1)
    assert recorder.frames[-1] == ["5 s 1", "60 s 1"]


async def test_track_cancelled_closes_and_leaves_no_task(server: FakeSchedules, session: SchedulesSession) -> None:
    ref = server.start_operation(1e6)
    recorder = Recorder()
    before = asyncio.all_tasks()
    tracking = asyncio.create_task(recorder.track(session.wait_for_operation(*ref)))
    await turns(3)
    tracking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await tracking
    await asyncio.sleep(0)
    assert recorder.closed == 1
    assert not [task for task in asyncio.all_tasks() - before if "draw" in repr(task)]


@pytest.mark.parametrize("failure", [OSError(5, "Input/output error"), SystemExit(1), asyncio.CancelledError()])
async def test_drawing_fails_wait_returns_its_result(
    server: FakeSchedules, session: SchedulesSession, caplog: pytest.LogCaptureFixture, failure: BaseException
) -> None:
    """The display is closed and the failure logged, once, also if closing fails as well."""
    recorder = Recorder()
    recorder.failure = failure
    operation = await recorder.track(session.wait_for_operation(*server.start_operation(30)))
    assert operation.is_succeeded
    assert (len(recorder.frames), recorder.closed) == (1, 1)
    assert warnings_in(caplog) == ["progress can no longer be displayed"]


async def test_drawing_fails_once_display_stays_closed(
    server: FakeSchedules, session: SchedulesSession, caplog: pytest.LogCaptureFixture
) -> None:
    """Also for waits that are tracked later, until all have ended; then there is a new display."""
    recorder = Recorder()
    recorder.failure = OSError(28, "No space left on device")
    with recorder.showing(session.wait_for_operation(*server.start_operation(30))):
        await turns(2)
        recorder.failure = None
        await recorder.track(session.wait_for_operation(*server.start_operation(5)))
    assert (recorder.opened, len(recorder.frames), recorder.closed) == (1, 1, 1)
    await recorder.track(session.wait_for_operation(*server.start_operation(5, operation_id="a")))
    assert (recorder.opened, recorder.frames[-1], recorder.closed) == (2, ["a 1"], 2)
    assert len(warnings_in(caplog)) == 1


async def test_opening_fails_wait_returns_its_result(
    server: FakeSchedules, session: SchedulesSession, caplog: pytest.LogCaptureFixture
) -> None:
    class Unopenable(Recorder):
        def _open(self) -> None:
            raise OSError(5, "Input/output error")

    assert (await Unopenable().track(session.wait_for_operation(*server.start_operation(30)))).is_succeeded
    assert len(warnings_in(caplog)) == 1


async def test_opening_and_logging_fail_wait_returns_its_result(
    server: FakeSchedules, session: SchedulesSession
) -> None:
    """A log without handlers writes to stderr: where that is closed, neither the bars nor the log can be written."""

    class Unopenable(Recorder):
        def _open(self) -> None:
            raise ValueError("I/O operation on closed file")

    def write(record: logging.LogRecord) -> bool:
        if record.levelno == logging.WARNING:
            raise ValueError("I/O operation on closed file")
        return True

    logger = logging.getLogger("schedules_async")
    logger.addFilter(write)
    try:
        assert (await Unopenable().track(session.wait_for_operation(*server.start_operation(30)))).is_succeeded
    finally:
        logger.removeFilter(write)


async def test_closing_fails_wait_returns_its_result(
    server: FakeSchedules, session: SchedulesSession, caplog: pytest.LogCaptureFixture
) -> None:
    class Unclosable(Recorder):
        def _close(self) -> None:
            raise OSError(5, "Input/output error")

    assert (await Unclosable().track(session.wait_for_operation(*server.start_operation(30)))).is_succeeded
    assert len(warnings_in(caplog)) == 1


async def test_showing_starts_no_task(session: SchedulesSession) -> None:
    """So that nobody who cancels the tasks of the event loop ends the drawing."""
    before = asyncio.all_tasks()
    with Recorder().showing(session.wait_for_operation("s", "o")):
        await turns(3)
        assert asyncio.all_tasks() == before


async def test_showing_displays_an_iteration(server: FakeSchedules, session: SchedulesSession) -> None:
    recorder = Recorder()
    waiter = session.wait_for_operation(*server.start_operation(30, operation_id="a"))
    with recorder.showing(waiter):
        changes = [operation async for operation in waiter]
    assert len(changes) > 1
    assert recorder.frames[-1] == ["a 1"]
