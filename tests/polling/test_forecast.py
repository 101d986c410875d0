"""What polls say of the end of an operation: its age, and the range of the time remaining."""

import math
from datetime import timedelta, timezone

import pytest
from attrs import evolve
from polls import BOOTED, NOON, after_noon, polled, queued, snapshot, started, unknown, window

from schedules_async._operations.operation import Operation, OperationStatus
from schedules_async._polling.experience import Experience
from schedules_async._polling.forecast import Progress, TimeRemaining

AGES = [
    # created, Date, seconds since the first poll, age
    (0.0, 50.0, 0.0, 50.0),
    (0.0, 50.0, 7.0, 50.0),
    (0.0, 3.0, 7.0, 7.0),  # the operation is no younger than its first poll
    (None, 50.0, 7.0, 7.0),
    (0.0, None, 7.0, 7.0),
    (99.0, 50.0, 7.0, 7.0),  # created in the future
    (-29 * 86400.0, 0.0, 7.0, 29 * 86400.0),
    (-31 * 86400.0, 0.0, 7.0, 7.0),  # absurd
]


@pytest.mark.parametrize(("created", "date", "since_first", "expected"), AGES)
def test_age_counts_from_creation_by_the_service_clock(
    created: float | None, date: float | None, since_first: float, expected: float
) -> None:
    progress = Progress()
    progress.observe(queued(created), BOOTED, None)
    progress.observe(queued(created), BOOTED + since_first, after_noon(date))
    assert progress.age == pytest.approx(expected)


def test_date_furthest_ahead_sets_the_service_clock() -> None:
    progress = Progress()
    for elapsed, date in [(0.2, 10), (0.9, 11), (1.5, 11), (2.8, 12)]:
        progress.observe(queued(), BOOTED + elapsed, after_noon(date))
    assert progress.age == pytest.approx(2.8 + 11 - 0.9)


@pytest.mark.parametrize(("jump", "expected"), [(3600.0, 3660.0), (-30.0, 30.0), (-1.5, 60.0)])
def test_service_clock_that_was_set_is_followed(jump: float, expected: float) -> None:
    progress = polled((50.0, queued()))
    progress.observe(queued(), BOOTED + 60, after_noon(60 + jump))
    assert progress.age == pytest.approx(expected)


def test_timestamp_includes_its_offset() -> None:
    created = NOON.astimezone(timezone(timedelta(hours=-7)))
    assert polled((50.0, evolve(queued(), created_at=created))).age == 50.0


WINDOWS = [
    # one poll: the deviation is half of what remains, the grain 0.002
    ([(30, 50)], (0.498 * 60 - 15, 0.502 * 60 + 15)),
    ([(10, 90)], (0.098 / 0.09 - 5 / 9, 0.102 / 0.09 + 5 / 9)),
    ([(10, 100)], (0.0, 0.02)),
    ([(10, 5000)], (0.0, 0.02)),
    ([(1, 0.5)], (0.993 * 200 - 99.5, 0.997 * 200 + 99.5)),
    # a straight line: no change of the forecast leaves a quarter of the deviation
    ([(10, 10), (20, 20)], (0.798 * 100 - 45 / 4, 0.802 * 100 + 45 / 4)),
    ([(10, 10), (20, 20), (30, 30)], (0.698 * 100 - 45 / 16, 0.702 * 100 + 45 / 16)),
]


@pytest.mark.parametrize(("polls", "expected"), WINDOWS)
def test_window_lies_around_the_rest_at_present_speed(
    polls: list[tuple[float, float]], expected: tuple[float, float]
) -> None:
    assert window(polled(*((t, started(percent)) for t, percent in polls))) == pytest.approx(expected)


def test_speed_is_geometric_mean_of_whole_and_recent() -> None:
    progress = polled((10, started(10)), (20, started(50)))  # 0.025 a second on the whole, 0.04 lately
    speed = math.sqrt(0.025 * 0.04)
    deviation = 45 / 4 + 0.75 * (100 - 20 - 0.5 / speed)
    assert window(progress) == pytest.approx((max(0.498 / speed - deviation, 0), 0.502 / speed + deviation))


def test_recent_speed_halves_the_weight_of_the_past() -> None:
    progress = polled((10, started(10)), (20, started(20)), (30, started(50)))
    speed = math.sqrt(0.5 / 30 * (0.01 + 0.03) / 2)
    deviation = 45 / 16 + 0.75 * (100 - 30 - 0.5 / speed)
    assert window(progress) == pytest.approx((max(0.498 / speed - deviation, 0), 0.502 / speed + deviation))


def test_progress_that_stood_still_is_coarse() -> None:
    fine = polled((25, started(25)), (50, started(50)))
    assert window(fine) == pytest.approx((0.498 * 100 - 37.5 / 4, 0.502 * 100 + 37.5 / 4))
    coarse = polled((25, started(25)), (30, started(25)), (50, started(50)))
    deviation = (37.5 / 4 + 0.75 * 20) / 4 + 0.75 * 20  # the forecast went from 100 s to 120 s and back
    assert window(coarse) == pytest.approx((0.248 * 100 - deviation, 0.752 * 100 + deviation))


def test_held_snapshot_counts_as_an_equal_one() -> None:
    """A 304 returns the held snapshot."""
    held = started(40)
    again = polled((30, started(20)), (40, held), (50, held))
    equal = polled((30, started(20)), (40, started(40)), (50, started(40)))
    assert window(again) == window(equal)


FALLS = [
    # percents, each poll 10 s after the one before; is the last one believed?
    ([50, 46], False),
    ([50, 20, 30], False),
    ([50, 20, 30, 40], False),
    ([50, 20, 30, 40, 50], True),
    ([50, 48], True),  # noise
    ([50, 20, 30, 10, 20, 30], False),
    ([50, 20, 20, 20, 20], True),
]


@pytest.mark.parametrize(("percents", "is_believed"), FALLS)
def test_progress_that_fell_is_ignored_for_three_polls(percents: list[float], is_believed: bool) -> None:
    progress = polled(*((10 + 10 * number, started(percent)) for number, percent in enumerate(percents)))
    assert (progress.remaining is not None) is is_believed


def test_window_is_counted_down_to_zero() -> None:
    progress = polled((30, started(50)))
    low, high = window(progress)
    for elapsed in (0.0, 5.0, 20.0, 40.0, 1000.0):
        expected = TimeRemaining(max(low - elapsed, 0.0), max(high - elapsed, 0.0))
        assert progress.time_remaining(BOOTED + 30 + elapsed) == expected


def test_unknown_keeps_the_window_and_queued_drops_it() -> None:
    progress = polled((30, started(50)), (40, unknown()))
    assert window(progress) == pytest.approx((4.88, 35.12))
    progress.observe(queued(), BOOTED + 41, None)
    assert progress.remaining is None
    progress.observe(started(10, updated=41), BOOTED + 42, None)
    assert window(progress) == pytest.approx((0.898 * 10 - 4.5, 0.902 * 10 + 4.5))


@pytest.mark.parametrize("status", [OperationStatus.SUCCEEDED, OperationStatus.FAILED])
def test_done_operation_has_no_time_remaining(status: OperationStatus) -> None:
    progress = polled((30, started(50)), (40, snapshot(status, 50, 0, 40)))
    assert progress.time_remaining(BOOTED + 99) == TimeRemaining(0.0, 0.0)


STARTS = [
    # polls, seconds run at the last of them; each reports half, so what remains lies around the same
    ([(0, queued()), (60, started(50, updated=30))], 30.0),
    ([(60, started(50, updated=30))], 30.0),
    # no updatedAt: the middle of 0 and 60
    ([(0, queued()), (60, started(50, updated=None))], 30.0),
    ([(0, queued()), (20, queued()), (60, started(50, updated=None))], 20.0),
    # never Queued at a poll: since creation
    ([(60, started(50, updated=None))], 60.0),
    # an updatedAt before creation, in the future, absurd
    ([(60, started(50, updated=-9))], 60.0),
    ([(0, queued()), (60, started(50, updated=90))], 30.0),
    ([(0, queued()), (60, started(50, updated=-40 * 86400))], 30.0),
]


@pytest.mark.parametrize(("polls", "run"), STARTS)
def test_run_counts_from_the_start(polls: list[tuple[float, Operation]], run: float) -> None:
    assert window(polled(*polls)) == pytest.approx((0.498 * 2 * run - run / 2, 0.502 * 2 * run + run / 2))


def test_start_without_date_lies_between_two_polls() -> None:
    progress = polled((0, queued()), (60, started(50, updated=10)), dated=False)
    assert window(progress) == pytest.approx((14.88, 45.12))


def test_moving_updated_at_is_not_the_start() -> None:
    """Then the middle of 0 and 20 is; the forecast goes from 10 s to 100 s."""
    progress = polled((0, queued()), (20, started(10, updated=19)), (60, started(50, updated=59)))
    deviation = 4.5 / 4 + 0.75 * 90
    assert window(progress) == pytest.approx((0.0, 0.502 * 100 + deviation))


def test_updated_at_moved_across_unknown_is_the_start() -> None:
    polls = [(20.0, started(10, updated=10)), (30.0, unknown()), (60.0, started(50, updated=40))]
    still = [(20.0, started(10, updated=10)), (30.0, unknown()), (60.0, started(50, updated=10))]
    assert polled(*polls).remaining == polled(*still).remaining


def test_polls_in_window_count_from_its_opening() -> None:
    progress = polled((30, started(50)))
    assert progress.polls_in_window == 0
    for polls in (1, 2, 3):
        progress.observe(started(100), BOOTED + 59 + polls, None)
        assert progress.polls_in_window == polls
    progress.observe(started(20), BOOTED + 90, None)
    assert progress.polls_in_window == 0


# --- what it leaves behind ----------------------------------------------------------------------------------------


ENDS = {  # updatedAt of a final answer at 120 s, after a poll at 100 s; seconds of the duration that is taught
    115.0: 115.0,
    100.0: 100.0,
    120.0: 120.0,
    121.5: 120.0,  # by a clock that is ahead
    99.0: 100.0,
    50.0: 110.0,  # not of the end, for the last poll found it running
    300.0: 110.0,
    None: 110.0,
}


@pytest.mark.parametrize(("updated", "duration"), ENDS.items())
def test_taught_end_is_the_operations_own(updated: float | None, duration: float) -> None:
    experience, progress = Experience(), polled((60.0, started(0)), (100.0, started(0)))
    progress.teach(experience, snapshot(OperationStatus.FAILED, 0, 0.0, updated), BOOTED + 120, after_noon(120))
    assert list(experience.ends(None, 0.0, 0.0)) == pytest.approx([duration])


def taught(progress: Progress) -> Experience:
    """Return the experience of one operation, which ends at 100 s."""
    experience = Experience()
    done = snapshot(OperationStatus.SUCCEEDED, 100, None, 100.0)
    progress.teach(experience, done, BOOTED + 100, after_noon(100))
    return experience


def test_operation_that_is_queued_again_starts_anew() -> None:
    experience = taught(
        polled((0.0, queued()), (10.0, started(50, updated=5.0)), (20.0, queued()), (50.0, started(50)))
    )
    running = polled((0.0, queued()), (10.0, started(50)))
    running.consult(experience)
    assert list(running.ends) == pytest.approx([2 * 10 - 10])


def test_operation_of_unknown_age_neither_teaches_nor_learns() -> None:
    """It ran before its first poll, as that of a resumed wait, and nobody knows since when."""
    assert taught(polled((50.0, started(40, created=None)))).count == 0
    assert taught(polled((50.0, started(0, created=None)))).count == 1
    progress = polled((50.0, started(40, created=None)))
    progress.consult(taught(polled((50.0, started(40)))))
    assert list(progress.ends) == []


def test_progress_that_fell_moves_its_range_alone() -> None:
    progress = polled(*((10.0 * number, started(percent)) for number, percent in enumerate([0, 50, 10, 20, 30, 40])))
    before = window(progress)
    progress.consult(taught(polled((50.0, started(40)))))
    assert list(progress.ends) == []
    assert window(progress) == before
    remaining = progress.time_remaining(BOOTED + 50)
    assert remaining is not None
    assert remaining.low <= 50 <= remaining.high


def test_operation_outliving_siblings_may_last_a_third_longer() -> None:
    progress = polled((100.0, started(20)), (250.0, started(50)))
    low, high = window(progress)
    progress.consult(Experience())
    assert progress.time_remaining(BOOTED + 250) == TimeRemaining(low, high)
    progress.consult(taught(polled((99.0, started(45)))))
    assert list(progress.ends) == []
    remaining = progress.time_remaining(BOOTED + 250)
    assert remaining is not None
    assert (remaining.low, remaining.high) == pytest.approx((250 / 3, high))
