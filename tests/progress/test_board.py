import asyncio
from typing import Any

import pytest
from attrs import define

from schedules_async import Operation, OperationRef, OperationStatus, OperationWaiter, SchedulesSession, TimeRemaining
from schedules_async.errors import NotFoundError
from schedules_async.progress.board import Board, Traffic, name_all
from schedules_async.testing import FakeSchedules, operation_answer, throttled


@define(eq=False)
class Standing:
    """An operation whose progress the test decides."""

    ref: OperationRef
    latest: Operation | None = None
    time_remaining: TimeRemaining | None = None
    outcome: Operation | Exception | None = None

    def show(self, percent: float, status: str = "Started", **facts: Any) -> None:
        facts = {"percent_complete": percent, **facts}
        self.latest = Operation(self.ref.operation_id, self.ref.schedule_id, OperationStatus(status), **facts)
        if self.latest.is_done:
            self.outcome = self.latest


def standings(count: int) -> list[Standing]:
    return [Standing(OperationRef("s", str(number))) for number in range(count)]


def names(board: Board, room: int) -> list[str]:
    return [track.name for track in board.choose(room)]


def test_a_track_never_runs_backwards_and_says_where_it_stands() -> None:
    board, (standing,) = Board(), standings(1)
    board.add([standing])
    (track,) = board.tracks
    seen = [(track.fraction, track.standing)]
    for percent, facts in (
        (50, {"sub_status": "Read\x1bing"}),
        (20, {}),
        (60, {}),
        (30, {"status": "Failed", "failure_description": "No\nroom"}),
    ):
        standing.show(percent, **facts)
        board.update()
        seen.append((track.fraction, track.standing))
    assert seen == [
        (0.0, "not seen yet"),
        (0.5, "Read ing"),
        (0.5, "Started"),
        (0.6, "Started"),
        (0.6, "No room"),
    ]
    assert track.is_lost


def test_what_ended_well_is_full_and_what_was_lost_says_why() -> None:
    board, (good, lost) = Board(), standings(2)
    board.add([good, lost])
    good.show(0, "Succeeded")
    lost.outcome = NotFoundError("404", ref=lost.ref)
    board.update()
    assert [(track.fraction, track.is_succeeded, track.standing) for track in board.tracks] == [
        (1.0, True, "Succeeded"),
        (0.0, False, "there is no such operation: 404"),
    ]
    assert (board.fraction, board.ended, board.lost, board.is_over) == (1.0, 2, 1, True)
    assert board.standing == "2 of 2 ended, 1 failed"


def test_the_total_never_runs_backwards_either() -> None:
    board, both = Board(), standings(2)
    assert board.fraction == 0.0
    board.add(both)
    fractions = []
    for first, second in ((50, 20), (10, 40), (0, 0)):
        both[0].show(first)
        both[1].show(second)
        board.update()
        fractions.append(board.fraction)
    both[0].show(0, "Failed")
    board.update()
    assert [*fractions, board.fraction] == [0.35, 0.45, 0.45, 0.7]


def test_the_last_one_is_expected_once_all_that_go_on_are() -> None:
    board, members = Board(), standings(3)
    board.add(members)
    assert board.time_remaining is None
    members[0].time_remaining = TimeRemaining(1, 9)
    assert board.time_remaining is None
    members[1].time_remaining = TimeRemaining(2, 3)
    members[2].show(100, "Succeeded")
    board.update()
    assert board.time_remaining == TimeRemaining(2, 9)
    assert board.tracks[2].time_remaining is None


def test_of_too_many_the_lost_ones_the_next_to_end_and_the_changed_ones_are_chosen() -> None:
    board, members = Board(), standings(1000)
    board.add(members)
    assert names(board, 1000) == [str(number) for number in range(1000)]
    board.update()
    members[900].show(10)
    members[500].show(0, "Failed")
    members[700].show(1)
    members[700].time_remaining = TimeRemaining(1, 2)
    board.update()
    members[3].show(5)
    board.update()
    for _ in range(10):
        board.update()
    assert names(board, 3) == ["3", "500", "700"]
    assert len(board.choose(20)) == 3, "the choice stays for a while"


def test_a_choice_stays_for_ten_updates_unless_the_room_shrinks() -> None:
    board, members = Board(), standings(50)
    board.add(members)
    board.update()
    chosen = names(board, 9)
    assert len(chosen) == 9
    for member in members[40:]:
        member.show(50)
    choices = []
    for _ in range(10):
        board.update()
        choices.append(names(board, 9))
    assert choices[:9] == [chosen] * 9
    assert choices[9] == [str(number) for number in range(40, 49)]
    assert len(names(board, 5)) == 5


def test_in_the_end_only_the_lost_ones_of_too_many_are_left() -> None:
    board, members = Board(), standings(50)
    board.add(members)
    for number, member in enumerate(members):
        member.show(100, "Failed" if number % 20 == 7 else "Succeeded")
    board.update()
    assert names(board, 10) == ["7", "27", "47"]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (None, ["a", "b"]),
        ({OperationRef("s", "a"): "im\nport"}, ["im port", "b"]),
        (lambda ref: f"<{ref.operation_id}>", ["<a>", "<b>"]),
    ],
)
def test_operations_have_the_names_that_the_caller_gives_or_their_ids(given: Any, named: list[str]) -> None:
    members = [Standing(OperationRef("s", "a")), Standing(OperationRef("s", "b"))]
    assert list(name_all(given, members).values()) == named


def test_operations_with_the_same_id_are_named_with_their_schedules() -> None:
    members = [Standing(OperationRef("s", "a")), Standing(OperationRef("t", "a"))]
    assert list(name_all(None, members).values()) == ["s/a", "t/a"]


async def to_the_end(waiter: OperationWaiter) -> list[float]:
    return [operation.percent_complete async for operation in waiter]


async def test_the_footer_tells_when_a_429_keeps_everybody_waiting(
    server: FakeSchedules, session: SchedulesSession
) -> None:
    ref = server.script_operation(throttled(5.0), operation_answer("Started"), operation_answer("Succeeded"))
    traffic, told = Traffic(session), set()
    waiting = asyncio.create_task(to_the_end(session.wait_for_operation(*ref)))
    while not waiting.done():
        told.add(traffic())
        await asyncio.sleep(0)
    assert "1 request, 0 saved by 304, 1 refused (429); a 429 keeps all waiting for 5 s more" in told
    assert traffic() == "3 requests, 0 saved by 304, 1 refused (429)"
