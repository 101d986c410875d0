"""The pace as a table of times, and the line of those who wait for it."""

import heapq
import math
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import cast

import pytest
from attrs import frozen

from schedules_async._throttling.rate_limiter import COMMUNITY_TIER, STANDARD_TIER, Pace, RateLimit


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
    assert pace.rate == pytest.approx(before / 2)
    pace.refused(6.0, 5.5, 8.0)
    assert pace.rate == pytest.approx(before / 2 * 0.95)


def test_refusals_with_nothing_accepted_between_them_cut_the_rate_step_by_step() -> None:
    pace = Pace((RateLimit(30, 1),))
    for number in range(3):
        pace.refused(number * 2 + 0.5, number * 2.0, number * 2 + 1.5)
    assert pace.rate == pytest.approx(0.97 * 30 * 0.5 * 0.95**2)


def test_a_long_refusal_tells_what_a_window_holds() -> None:
    """60 accepted from one opening to the next, a minute later, are a little less than one a second."""
    pace = Pace((RateLimit(600, 60),))
    pace.refused(0.0, -1.0, 10.0)
    for second in range(12):
        pace.take(10.0 + second)
        for _ in range(10):
            pace.accepted(10.0 + second, is_demand_waiting=False)
    pace.refused(22.0, 21.9, 70.0)
    assert pace.rate == pytest.approx(0.95 * 120 / 59.5)


def test_the_rate_never_falls_below_one_a_second() -> None:
    pace = Pace(())
    for number in range(50):
        pace.refused(number * 10 + 1.0, number * 10.0, number * 10 + 5.0)
    assert pace.rate == 1.0


def test_a_refusal_never_raises_a_rate_below_one_a_second() -> None:
    pace = Pace((RateLimit(1, 10),))
    pace.take(0.0)
    pace.answered(0.1)
    pace.refused(0.1, 0.0, 5.0)
    assert pace.rate <= 0.1


def test_the_rate_grows_only_while_demand_waits() -> None:
    pace = Pace(())
    for second in range(10):
        pace.accepted(float(second), is_demand_waiting=False)
    assert pace.rate == 5.0
    pace.accepted(10.0, is_demand_waiting=True)
    assert pace.rate == pytest.approx(10.0)


def test_five_minutes_of_silence_teach_nothing() -> None:
    pace = Pace(())
    pace.accepted(0.0, is_demand_waiting=True)
    pace.accepted(300.0, is_demand_waiting=True)
    assert pace.rate <= 5.0 * 2**2


def test_after_five_minutes_of_silence_no_herd_leaves() -> None:
    pace = Pace((RateLimit(600, 60),))
    before = drive(pace, 30)
    after = drive(pace, 30, start=330.0)
    assert len([time for time in after if time < 331]) <= 0.02 * 600 + pace.rate + 2
    assert most_in_any_window([*before, *after], 60) <= 600


def test_after_two_refusals_the_rate_grows_slowly_and_then_faster() -> None:
    pace = Pace(())
    for number in range(2):
        pace.refused(number * 10.0, number * 10 - 1.0, number * 10 + 1.0)
    cut = pace.rate
    rates = []
    for second in range(12, 112):
        pace.accepted(float(second), is_demand_waiting=True)
        rates.append(pace.rate)
    assert rates[9] <= cut + 0.5
    assert rates[99] >= 2 * cut


def test_a_known_rate_is_never_exceeded_by_growth() -> None:
    pace = Pace((RateLimit(60, 60),))
    for second in range(100):
        pace.accepted(float(second), is_demand_waiting=True)
    assert pace.rate == pytest.approx(0.97)


@frozen
class Sent:
    """One request of a session to a service whose quota lies in fixed windows."""

    time: float
    session: int
    is_accepted: bool


def saturate(starts: Sequence[float], seconds: float, per: float, quota: Callable[[float], int]) -> list[Sent]:
    """Let sessions that know no limit send as much as they may; they share the quota."""
    paces, used, sent = [Pace(()) for _ in starts], dict[float, int](), list[Sent]()
    events: list[tuple[float, int, float, int | None]] = [
        (start, number, 0.0, None) for number, start in enumerate(starts)
    ]
    heapq.heapify(events)
    while events[0][0] < seconds:
        now, session, left, answer = heapq.heappop(events)
        pace = paces[session]
        if answer is not None:
            pace.answered(now)
            if answer:
                pace.refused(now, left, now + answer)
            else:
                pace.accepted(now, is_demand_waiting=True)
        elif (at := pace.earliest(now)) > now:
            heapq.heappush(events, (at, session, 0.0, None))
        else:
            pace.take(now)
            used[now // per] = used.get(now // per, 0) + 1
            is_accepted = used[now // per] <= quota(now)
            sent.append(Sent(now, session, is_accepted))
            wait = 0 if is_accepted else max(math.ceil((now // per + 1) * per - now), 1)
            heapq.heappush(events, (now + LATENCY, session, now, wait))
            heapq.heappush(events, (now, session, 0.0, None))
    return sent


LATENCY = 0.05


def shares(sent: list[Sent], since: float, until: float, quota: float) -> tuple[float, float]:
    """Give the used share of a quota a second in a time, and the share of requests that was refused."""
    late = [one for one in sent if since <= one.time < until]
    accepted = sum(one.is_accepted for one in late)
    return accepted / (quota * (until - since)), 1 - accepted / len(late)


@pytest.mark.parametrize(("calls", "per"), [(25, 1.0), (250, 10.0), (500, 60.0), (5000, 60.0)])
def test_an_unknown_quota_is_learned(calls: int, per: float) -> None:
    """Within half a minute, or the first window where that is longer."""
    learned, end = max(30.0, per), 60 + 5 * per
    used, refused = shares(saturate([0.0], end, per, lambda _: calls), learned, end, calls / per)
    assert 0.8 <= used <= 1.0
    assert refused <= 0.03


@pytest.mark.parametrize(("calls", "per", "seconds"), [(25, 1.0, 300.0), (500, 60.0, 900.0)])
@pytest.mark.parametrize("stagger", [0.0, 0.2])
def test_sessions_that_share_a_quota_come_to_fair_shares(
    calls: int, per: float, seconds: float, stagger: float
) -> None:
    sent = saturate([number * stagger * seconds for number in range(3)], 2 * seconds, per, lambda _: calls)
    used, refused = shares(sent, seconds, 2 * seconds, calls / per)
    assert used >= 0.8
    assert refused <= 0.03
    own = Counter(one.session for one in sent if one.is_accepted and one.time >= seconds)
    assert max(own.values()) <= 1.25 * own.total() / 3
    assert min(own.values()) >= 0.75 * own.total() / 3


@pytest.mark.parametrize(("before", "after"), [(500, 250), (500, 1000)])
def test_a_quota_that_changes_is_learned_anew(before: int, after: int) -> None:
    """A lower one at once, a higher one within five minutes."""
    sent = saturate([0.0], 1800, 60, lambda now: before if now < 600 else after)
    used, refused = shares(sent, 900, 1800, after / 60)
    assert used >= 0.9
    assert refused <= 0.03
    assert shares(sent, 660, 900, after / 60)[1] <= 0.03


@pytest.mark.parametrize(("calls", "per"), [(0, 60), (-1, 60), (1, 0), (1, -1), (1, math.nan), (1, math.inf)])
def test_a_limit_that_means_nothing_is_refused(calls: int, per: float) -> None:
    with pytest.raises(ValueError, match=r"calls|per"):
        RateLimit(calls, per)


def test_a_limit_takes_a_timedelta() -> None:
    assert RateLimit(500, timedelta(minutes=1)) == COMMUNITY_TIER[0]
    with pytest.raises(TypeError):
        RateLimit(cast("int", 1.5), 60)
