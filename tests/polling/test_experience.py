"""What ended operations say of the running ones."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedules_async._polling.experience import Experience, Promises, find_range, interval_among


def promised(*polls: tuple[float, float]) -> Promises:
    """Return the promises after polls that found a fraction so many seconds after the start."""
    promises = Promises()
    for fraction, run in polls:
        promises.observe(fraction, run)
    return promises


def learned(*operations: tuple[Promises | None, float]) -> Experience:
    """Return the experience of operations that ran for so many seconds, and were Queued for ten before."""
    experience = Experience()
    for promises, run in operations:
        experience.learn(promises, run + 10, run)
    return experience


def half_way(run: float) -> Promises:
    return promised((0.5, run))


ROWS = [
    # by the odds of the fraction, 1:32 or less in the first and 64:1 or more in the last;
    # and that of half a row before
    (0.005, 0, 0),
    (1 / 33, 0, 0),
    (1 / 18, 1, 0),
    (0.1, 2, 1),
    (0.2, 3, 3),
    (0.48, 5, 4),
    (0.5, 5, 5),
    (0.55, 5, 5),
    (0.6, 6, 5),
    (0.9, 8, 8),
    (0.98, 11, 10),
    (0.9999, 11, 10),
    (1.0, 11, 10),
]


@pytest.mark.parametrize(("fraction", "row", "earlier_row"), ROWS)
def test_promise_stands_in_row_of_its_odds(fraction: float, row: int, earlier_row: int) -> None:
    promises = promised((fraction, 60))
    assert (promises.row, promises.earlier_row) == (row, earlier_row)
    assert promises.newest == pytest.approx(60 / fraction)


POLLS: list[tuple[list[tuple[float, float]], dict[int, float]]] = [
    # polls, and the ratios of an operation that runs for 120 s
    ([], {}),
    ([(0.004, 10)], {}),  # too little progress
    ([(0.5, 0)], {}),  # no time has passed
    ([(0.5, 60)], {5: 1.0}),
    ([(0.5, 30)], {5: 2.0}),
    ([(0.5, 60), (0.5, 90)], {5: 1.0}),  # progress that rests promises nothing more
    ([(0.5, 60), (0.48, 90)], {5: 1.0}),
    ([(0.45, 60), (0.5, 80)], {5: 0.75}),  # the newest of a row
    ([(0.1, 6), (0.5, 60), (0.8, 120)], {2: 2.0, 5: 1.0, 7: 0.8}),
]


@pytest.mark.parametrize(("polls", "ratios"), POLLS)
def test_ratio_is_the_run_over_the_promised_one(polls: list[tuple[float, float]], ratios: dict[int, float]) -> None:
    assert ratios_in(learned((promised(*polls), 120))) == pytest.approx(ratios)


def ratios_in(experience: Experience) -> dict[int, float]:
    """Return the ratios learned from one operation, by row; the last row is that of the durations."""
    return {row: ratio for row in range(12) for ratio in experience._row(row)}


def test_progress_that_fell_leaves_its_duration_alone() -> None:
    fallen = promised((0.5, 60), (0.4, 70), (0.6, 90))
    experience = learned((fallen, 100))
    assert ratios_in(experience) == {}
    assert experience.ends(half_way(60), age=70, run=60) == []
    assert experience.ends(fallen, age=70, run=60) == [40]


ENDS: list[tuple[list[tuple[Promises | None, float]], Promises | None, float, list[float]]] = [
    # operations that ended, a running one, the run so far, the seconds until it ends if it goes as they did
    ([], None, 30, []),
    ([], half_way(60), 60, []),
    ([(half_way(50), 100)], half_way(60), 60, [60]),
    ([(half_way(50), 100)], half_way(60), 90, [30]),
    ([(half_way(50), 100)], half_way(60), 120, []),  # already past
    ([(half_way(50), 150), (half_way(50), 100), (half_way(50), 55)], half_way(60), 60, [6, 60, 120]),
    ([(half_way(50), 100)], promised((0.9, 60)), 60, []),  # nobody was seen there
    # by the durations, which are ten seconds more than the runs
    ([(half_way(50), 100)], None, 30, [70]),
    ([(None, 100)], Promises(), 30, [70]),
    ([(None, 100)], half_way(30), 30, []),
    ([(None, 200), (None, 100), (None, 20)], None, 30, [70, 170]),
    ([(None, 30), (None, 30), (None, 620), (None, 620)], None, 0, [30, 30, 620, 620]),
    ([(None, 30), (None, 30), (None, 640), (None, 640)], None, 0, []),  # no typical size
]


@pytest.mark.parametrize(("ended", "running", "run", "ends"), ENDS)
def test_ends_are_those_of_siblings(
    ended: list[tuple[Promises | None, float]], running: Promises | None, run: float, ends: list[float]
) -> None:
    assert learned(*ended).ends(running, age=run + 10, run=run) == pytest.approx(ends, rel=1e-6)


def test_earlier_row_has_predictions_of_its_own() -> None:
    """Of the row that ends before the newest promise; there is only one row of durations."""
    experience = learned((promised((0.4, 40), (0.5, 80)), 200))
    running = promised((0.48, 60))
    assert experience.ends(running, age=70, run=60) == pytest.approx([125 * 200 / 160 - 60])
    assert experience.ends(running, age=70, run=60, earlier=True) == pytest.approx([125 * 200 / 100 - 60])
    assert experience.ends(None, age=70, run=60, earlier=True) == [140]


def test_fifty_newest_operations_are_remembered() -> None:
    experience = learned(*((half_way(50), 100 + number) for number in range(120)))
    assert experience.count == 120
    assert experience.ends(None, age=0, run=0) == [80.0 + number for number in range(100, 150)]
    assert experience.ends(half_way(50), age=60, run=50) == pytest.approx([120.0 + number for number in range(50)])


def test_experience_of_a_session_is_small() -> None:
    experience = learned(*((half_way(50), 100.0) for _ in range(120)))
    held = [getattr(experience, name) for name in Experience.__slots__ if name != "__weakref__"]
    assert sum(map(sys.getsizeof, [experience, *held])) < 4096


INTERVALS = [
    # ends, interval of the policy alone, cost, expected
    ([], 7.0, 0.5, 7.0),
    ([7.0], 7.0, 0.5, 7.0),  # the latest vote
    ([100.0] * 50, 7.0, 0.5, 6.5 + 13 - 0.25),  # the two votes of the policy alone
    ([10.0] * 50, 30.0, 0.5, 10 + 0.5 * 52 / 50 - 0.25),
    ([10.0] * 25 + [100.0] * 25, 30.0, 0.5, 10 + 0.5 * 52 / 25 - 0.25),
    ([10.0] * 25 + [10.9] * 25, 30.0, 0.5, 10.9),  # nobody ends in between
    ([1.0], 30.0, 5.0, 1 + 15 - 2.5),
    ([1.0] * 50, 2.0, 5.0, 2.0),
    ([1.0] * 49 + [3.0], 2.0, 5.0, 3.0),
]


@pytest.mark.parametrize(("ends", "alone", "cost", "expected"), INTERVALS)
def test_interval_waits_for_mean_of_votes(ends: list[float], alone: float, cost: float, expected: float) -> None:
    assert interval_among(ends, alone, cost) == pytest.approx(expected)


TIMES = st.floats(0, 1e6)


@given(ends=st.lists(TIMES, min_size=1, max_size=50).map(sorted), alone=TIMES, cost=st.floats(0.01, 1e4))
def test_mean_wait_at_next_poll_is_cost_at_most(ends: list[float], alone: float, cost: float) -> None:
    """And so much less than half of it only if the poll is right after an end, or after all."""
    interval, votes = interval_among(ends, alone, cost), [*ends, alone - cost, alone - cost]
    mean = sum(max(interval - end, 0.0) for end in votes) / len(votes)
    later = sum(max(interval + cost / 2 - end, 0.0) for end in votes) / len(votes)
    assert mean <= cost + 1e-3
    assert later >= cost - 1e-3 or interval == pytest.approx(max(*votes, alone))


RANGES = [
    # ends, the range of the policy alone, the promised run, expected
    ([], (5.0, 9.0), 100.0, (5.0, 9.0)),
    ([7.0], (5.0, 9.0), 100.0, (5.0, 9.0)),
    ([1.0], (5.0, 9.0), 100.0, (1.0, 9.0)),
    (range(11), (0.0, 99.0), 100.0, (0.0, 99.0)),
    (range(10, 22), (0.0, 99.0), 100.0, (9.8, 21.2)),  # one of fourteen is left out at either end
    (range(50), (0.0, 99.0), 0.0, (2.0, 47.0)),
    ([0.1] * 50, (0.0, 99.0), 100.0, (0.0, 0.3)),  # never below zero
]


@pytest.mark.parametrize(("ends", "own", "whole_run", "expected"), RANGES)
def test_range_leaves_out_a_fourteenth_at_either_end(
    ends: list[float], own: tuple[float, float], whole_run: float, expected: tuple[float, float]
) -> None:
    assert find_range(list(ends), *own, whole_run) == pytest.approx(expected)
