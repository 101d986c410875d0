"""The pace as a table of times, and the line of those who wait for it."""

import math
from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise
from typing import cast

import pytest

from schedules_async.pacing import COMMUNITY_TIER, STANDARD_TIER, Pace, RateLimit


def drive(pace: Pace, seconds: float, *, latency: float = 0.0, start: float = 0.0) -> list[float]:
    """Send as fast as the pace allows; give the times."""
    now = start
    sent: list[float] = []
    answers: list[float] = []
    while True:
        while answers and answers[0] <= now:
            pace.answered(answers.pop(0))
        at = pace.earliest(now)
        if math.isinf(at):
            now = answers[0]
            continue
        now = max(now, at)
        if now >= start + seconds:
            return sent
        if at <= now and (not answers or answers[0] > now):
            pace.take(now)
            sent.append(now)
            answers.append(now + latency)


def most_in_any_window(times: Sequence[float], per: float) -> int:
    first, most = 0, 0
    for last, time in enumerate(times):
        while times[first] <= time - per:
            first += 1
        most = max(most, last - first + 1)
    return most


@pytest.mark.parametrize(
    ("limits", "seconds"),
    [
        ((RateLimit(1, 10),), 100),
        ((RateLimit(3, 10),), 100),
        ((RateLimit(25, 1),), 60),
        ((RateLimit(500, 60),), 600),
        ((RateLimit(10, 1), RateLimit(100, 60)), 600),
        (COMMUNITY_TIER, 3 * 3600),
        (STANDARD_TIER, 120),
    ],
)
@pytest.mark.parametrize("latency", [0.0, 0.3])
def test_no_window_of_any_limit_is_ever_exceeded(limits: tuple[RateLimit, ...], seconds: float, latency: float) -> None:
    sent = drive(Pace(limits), seconds, latency=latency)
    for limit in limits:
        assert most_in_any_window(sent, limit.per) <= limit.calls


@pytest.mark.parametrize(
    ("limits", "seconds"), [((RateLimit(500, 60),), 600), (COMMUNITY_TIER, 3 * 3600), (STANDARD_TIER, 120)]
)
def test_what_is_allowed_is_used(limits: tuple[RateLimit, ...], seconds: float) -> None:
    """At least 95 % of the slowest limit's calls, under saturation."""
    slowest = min(limits, key=lambda limit: limit.calls / limit.per)
    assert len(drive(Pace(limits), seconds)) >= 0.95 * slowest.calls * seconds / slowest.per


def test_a_known_rate_is_spent_evenly() -> None:
    sent = drive(Pace((RateLimit(500, 60),)), 60)
    assert len([time for time in sent if time < 1]) <= 20
    assert max(later - earlier for earlier, later in pairwise(sent)) < 0.2


def test_a_slower_limit_never_runs_dry() -> None:
    """Half of the hour's calls go at the minute's pace, the rest is spread: no gap of minutes."""
    sent = drive(Pace(COMMUNITY_TIER), 3 * 3600)
    assert len([time for time in sent if time < 300]) > 2000
    assert max(later - earlier for earlier, later in pairwise(sent)) < 3


def test_an_unknown_rate_starts_low() -> None:
    assert len(drive(Pace(()), 10)) <= 5 * 10 + 6


def test_the_gate_stays_closed_until_the_latest_time_named() -> None:
    pace = Pace(())
    pace.take(0.0)
    assert pace.refused(1.0, 0.0, 11.0)
    assert not pace.refused(2.0, 0.0, 5.0)
    assert pace.earliest(3.0) == 11.0
    assert pace.refused(3.0, 0.0, 12.0)
    assert pace.earliest(3.0) == 12.0


def test_no_herd_leaves_when_the_gate_opens() -> None:
    pace = Pace((RateLimit(600, 60),))
    pace.refused(0.0, -1.0, 10.0)
    sent = drive(pace, 5, start=10.0)
    assert sent[0] == 10.0
    assert all(later - earlier >= 1 / pace.rate - 1e-9 for earlier, later in pairwise(sent))


def test_one_round_of_refusals_cuts_the_rate_once() -> None:
    pace = Pace((RateLimit(600, 60),))
    before = pace.rate
    for number in range(10):
        pace.refused(1.0 + number / 10, 0.5, 5.0)
    assert pace.rate == pytest.approx(before * 0.8)
    pace.refused(6.0, 5.5, 8.0)
    assert pace.rate <= before * 0.8 * 0.8 + 1e-9


def test_refusals_with_nothing_accepted_between_them_cut_the_rate_step_by_step() -> None:
    pace = Pace((RateLimit(30, 1),))
    for number in range(3):
        pace.refused(number * 2 + 0.5, number * 2.0, number * 2 + 1.5)
    assert pace.rate == pytest.approx(0.97 * 30 * 0.8**3)


def test_the_rate_never_falls_below_one_a_second() -> None:
    pace = Pace(())
    for number in range(50):
        pace.refused(number * 10 + 1.0, number * 10.0, number * 10 + 5.0)
    assert pace.rate == 1.0


def test_the_rate_grows_only_while_demand_waits() -> None:
    pace = Pace(())
    for second in range(10):
        pace.accepted(float(second), is_demand_waiting=False)
    assert pace.rate == 5.0
    pace.accepted(10.0, is_demand_waiting=True)
    assert pace.rate == pytest.approx(6.0)


def test_five_minutes_of_silence_teach_nothing() -> None:
    pace = Pace(())
    pace.accepted(0.0, is_demand_waiting=True)
    pace.accepted(300.0, is_demand_waiting=True)
    assert pace.rate <= 5.0 * 1.2**2


def test_after_a_refusal_the_rate_grows_slowly() -> None:
    pace = Pace(())
    pace.refused(0.0, -1.0, 1.0)
    cut = pace.rate
    for second in range(2, 12):
        pace.accepted(float(second), is_demand_waiting=True)
    assert cut < pace.rate <= cut + 0.1 * 10 + 1e-9


def test_a_known_rate_is_never_exceeded_by_growth() -> None:
    pace = Pace((RateLimit(60, 60),))
    for second in range(100):
        pace.accepted(float(second), is_demand_waiting=True)
    assert pace.rate == pytest.approx(0.97)


def simulate_quota(calls: int, per: float, seconds: float) -> tuple[float, float]:
    """Saturate a service with a quota in fixed windows; give the accepted and the refused share after 30 s."""
    pace, now, counts = Pace(()), 0.0, {"accepted": 0, "refused": 0}
    window, used = 0, 0
    while True:
        now = pace.earliest(now)
        if now >= seconds:
            break
        pace.take(now)
        if int(now // per) != window:
            window, used = int(now // per), 0
        used += 1
        pace.answered(now)
        if used > calls:
            counts["refused"] += now >= 30
            pace.refused(now, now, math.ceil((window + 1) * per - now) + now)
        else:
            counts["accepted"] += now >= 30
            pace.accepted(now, is_demand_waiting=True)
    return counts["accepted"] / ((seconds - 30) / per * calls), counts["refused"] / sum(counts.values())


@pytest.mark.parametrize(("calls", "per"), [(25, 1.0), (250, 10.0), (500, 60.0)])
def test_an_unknown_quota_is_learned(calls: int, per: float) -> None:
    used, refused = simulate_quota(calls, per, 330)
    assert used >= 0.8
    assert refused <= 0.03


@pytest.mark.parametrize(("calls", "per"), [(0, 60), (-1, 60), (1, 0), (1, -1), (1, math.nan), (1, math.inf)])
def test_a_limit_that_means_nothing_is_refused(calls: int, per: float) -> None:
    with pytest.raises(ValueError, match=r"calls|per"):
        RateLimit(calls, per)


def test_a_limit_takes_a_timedelta() -> None:
    assert RateLimit(500, timedelta(minutes=1)) == COMMUNITY_TIER[0]
    with pytest.raises(TypeError):
        RateLimit(cast("int", 1.5), 60)
