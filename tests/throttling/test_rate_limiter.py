"""The rate limiter: from when on requests may leave, as tables of times."""

import heapq
import math
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import cache
from itertools import pairwise
from typing import Any, cast

import pytest
from attrs import frozen

from schedules_async._throttling.rate_limiter import COMMUNITY_TIER, STANDARD_TIER, RateLimit, RateLimiter

UNLIMITED = (RateLimit(1_000_000, 1),)
LATENCY = 0.05


def drive(limiter: RateLimiter, seconds: float, *, latency: float = 0.0, start: float = 0.0) -> list[float]:
    """Send as fast as the limiter allows; return the times."""
    now = start
    sent: list[float] = []
    answers: list[float] = []
    while True:
        while answers and answers[0] <= now:
            limiter.end(answers.pop(0))
        at = limiter.earliest(now)
        if math.isinf(at):
            now = answers[0]
            continue
        now = max(now, at)
        if now >= start + seconds:
            return sent
        if at <= now and (not answers or answers[0] > now):
            limiter.send(now)
            sent.append(now)
            answers.append(now + latency)


@cache
def drive_for(seconds: float, limits: tuple[RateLimit, ...], latency: float = 0.0) -> list[float]:
    """Send as fast as a new limiter allows; return the times."""
    return drive(RateLimiter(limits), seconds, latency=latency)


def saturate(limiter: RateLimiter, now: float) -> int:
    """Send, answered at once, until the rate holds the next request back; return how many requests left."""
    count = 0
    while limiter.earliest(now) <= now:
        limiter.send(now)
        limiter.end(now)
        count += 1
    return count


def fill(limiter: RateLimiter, now: float) -> int:
    """Send, unanswered, until the limiter holds the next request back; return how many requests left."""
    count = 0
    while limiter.earliest(now) <= now:
        limiter.send(now)
        count += 1
    return count


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
        (COMMUNITY_TIER, 2 * 3600),
        (STANDARD_TIER, 120),
    ],
)
@pytest.mark.parametrize("latency", [0.0, 0.3])
def test_limit_under_saturation_is_never_exceeded(
    limits: tuple[RateLimit, ...], seconds: float, latency: float
) -> None:
    """In no window of any limit."""
    sent = drive_for(seconds, limits, latency)
    for limit in limits:
        assert most_in_any_window(sent, limit.per) <= limit.calls


@pytest.mark.parametrize(
    ("limits", "seconds"), [((RateLimit(500, 60),), 600), (COMMUNITY_TIER, 2 * 3600), (STANDARD_TIER, 120)]
)
def test_slowest_limit_under_saturation_is_used(limits: tuple[RateLimit, ...], seconds: float) -> None:
    """At least 95 % of its calls."""
    slowest = min(limits, key=lambda limit: limit.calls / limit.per)
    assert len(drive_for(seconds, limits)) >= 0.95 * slowest.calls * seconds / slowest.per


def test_known_rate_is_spent_evenly() -> None:
    sent = drive(RateLimiter((RateLimit(500, 60),)), 60)
    assert len([time for time in sent if time < 1]) <= 20
    assert max(later - earlier for earlier, later in pairwise(sent)) < 0.2


def test_slower_limit_never_runs_dry() -> None:
    """Half of the hour's calls leave at the minute's rate, the rest is spread: no gap of minutes."""
    sent = drive_for(2 * 3600, COMMUNITY_TIER)
    assert len([time for time in sent if time < 300]) > 2000
    assert max(later - earlier for earlier, later in pairwise(sent)) < 3


def test_unknown_rate_starts_low() -> None:
    assert len(drive(RateLimiter(()), 10)) <= 5 * 10 + 6


def test_gate_stays_closed_until_latest_time_named() -> None:
    limiter = RateLimiter(())
    limiter.send(0.0)
    assert limiter.throttle(1.0, 0.0, 11.0)
    assert not limiter.throttle(2.0, 0.0, 5.0)
    assert limiter.earliest(3.0) == 11.0
    assert limiter.throttle(3.0, 0.0, 12.0)
    assert limiter.earliest(3.0) == 12.0


def test_opening_gate_lets_no_herd_leave() -> None:
    limiter = RateLimiter((RateLimit(600, 60),))
    limiter.throttle(0.0, -1.0, 10.0)
    sent = drive(limiter, 5, start=10.0)
    assert sent[0] == 10.0
    assert all(later - earlier >= 1 / limiter.rate - 1e-9 for earlier, later in pairwise(sent))


@pytest.mark.parametrize(
    ("throttles", "checks"),
    [
        ([], [(0.0, 0.0), (1e6, 0.0)]),
        ([(10.0, 20.0)], [(10.0, 0.0), (15.0, 5.0), (20.0, 10.0), (1e6, 10.0)]),
        ([(10.0, 20.0), (12.0, 15.0)], [(12.0, 2.0), (20.0, 10.0), (1e6, 10.0)]),
        ([(10.0, 20.0), (15.0, 25.0)], [(15.0, 5.0), (20.0, 10.0), (25.0, 15.0), (1e6, 15.0)]),
        ([(10.0, 20.0), (30.0, 31.0)], [(30.0, 10.0), (30.5, 10.5), (31.0, 11.0), (1e6, 11.0)]),
        ([(10.0, 10.0)], [(10.0, 0.0), (1e6, 0.0)]),
    ],
)
def test_closed_seconds_count_all_closures_until_now(
    throttles: list[tuple[float, float]], checks: list[tuple[float, float]]
) -> None:
    limiter = RateLimiter(())
    for now, until in throttles:
        limiter.throttle(now, now - 0.1, until)
    assert [(now, limiter.closed_seconds(now)) for now, _ in checks] == checks


def test_429s_of_one_round_cut_rate_once() -> None:
    limiter = RateLimiter((RateLimit(600, 60),))
    before = limiter.rate
    for number in range(10):
        limiter.throttle(1.0 + number / 10, 0.5, 5.0)
    assert limiter.rate == pytest.approx(before / 2)
    limiter.throttle(6.0, 5.5, 8.0)
    assert limiter.rate == pytest.approx(before / 2 * 0.95)


@pytest.mark.parametrize(
    ("sent", "now", "is_cut"),
    [(0.9, 3.0, False), (1.0, 3.0, False), (1.1, 1.9, False), (1.1, 2.0, True), (1.1, 60.0, True)],
)
def test_429_to_request_sent_before_cut_cuts_nothing(sent: float, now: float, is_cut: bool) -> None:
    """Nor does one within a second of the cut, which is at 1.0."""
    limiter = RateLimiter((RateLimit(600, 60),))
    limiter.throttle(1.0, 0.5, 1.1)
    before = limiter.rate
    limiter.throttle(now, sent, now + 1)
    assert (limiter.rate < before) is is_cut


def test_429s_with_nothing_accepted_between_cut_stepwise() -> None:
    limiter = RateLimiter((RateLimit(30, 1),))
    for number in range(3):
        limiter.throttle(number * 2 + 0.5, number * 2.0, number * 2 + 1.5)
    assert limiter.rate == pytest.approx(0.97 * 30 * 0.5 * 0.95**2)


def test_429_with_long_retry_after_measures_window() -> None:
    """120 accepted from one opening to the next, a minute later, are a little less than two a second."""
    limiter = RateLimiter((RateLimit(600, 60),))
    limiter.throttle(0.0, -1.0, 10.0)
    for number in range(13):
        saturate(limiter, 10.0 + number)
        for _ in range(10 if number < 12 else 0):
            limiter.accept(10.0 + number)
    limiter.throttle(22.0, 21.9, 70.0)
    assert limiter.rate == pytest.approx(0.95 * 120 / 59.5)


@pytest.mark.parametrize("cuts", [0, 1, 2])
def test_429_after_idle_hour_cuts_multiplicatively(cuts: int) -> None:
    """What was accepted in an hour of little demand says nothing of the quota."""
    limiter = RateLimiter(())
    for number in range(cuts):
        limiter.throttle(number * 10.0, number * 10 - 1.0, number * 10 + 1.0)
    for second in range(100, 105):
        saturate(limiter, float(second))
        limiter.accept(float(second))
    before = limiter.rate
    limiter.send(3700.0)
    limiter.end(3700.1)
    limiter.throttle(3700.1, 3700.0, 3760.0)
    assert limiter.rate == pytest.approx(before * (0.95 if cuts else 0.5))


def test_rate_after_many_429s_is_one_a_second() -> None:
    limiter = RateLimiter(())
    for number in range(50):
        limiter.throttle(number * 10 + 1.0, number * 10.0, number * 10 + 5.0)
    assert limiter.rate == 1.0


def test_429_never_raises_rate_below_one_a_second() -> None:
    limiter = RateLimiter((RateLimit(1, 10),))
    limiter.send(0.0)
    limiter.end(0.1)
    limiter.throttle(0.1, 0.0, 5.0)
    assert limiter.rate <= 0.1


def test_zero_pause_lowers_rate_and_forgives_no_debt() -> None:
    limiter = RateLimiter(())
    assert saturate(limiter, 0.0) == 6
    assert limiter.earliest(0.0) == pytest.approx(1 / 5)
    limiter.throttle(0.0, -1.0, 0.0)
    assert limiter.rate == 2.5
    assert limiter.earliest(0.0) == pytest.approx(1 / 2.5)


@pytest.mark.parametrize(("pause", "waits"), [(0.0, 0.4), (0.1, 0.3), (0.4, 0.0), (10.0, 0.0)])
def test_closed_gate_pays_debt_while_it_lasts(pause: float, waits: float) -> None:
    """A debt of one request at a rate of 2.5 a second."""
    limiter = RateLimiter(())
    saturate(limiter, 0.0)
    limiter.throttle(0.0, -1.0, pause)
    assert limiter.earliest(pause) == pytest.approx(pause + waits)


def test_zero_pause_ends_credit() -> None:
    limiter = RateLimiter(())
    limiter.throttle(0.0, -1.0, 0.0)
    assert saturate(limiter, 0.0) == 1


@pytest.mark.parametrize("limits", [(), COMMUNITY_TIER, STANDARD_TIER])
def test_repeated_zero_pauses_keep_rate_falling(limits: tuple[RateLimit, ...]) -> None:
    """Every request meets a 429 without a pause: what leaves is what the lowered rate allows."""
    limiter, now, sent = RateLimiter(limits), 0.0, list[float]()
    rates = [limiter.rate]
    limiter.throttle(now, -1.0, now)
    while now < 600:
        now = max(now, limiter.earliest(now))
        limiter.send(now)
        limiter.end(now)
        sent.append(now)
        rates.append(limiter.rate)
        limiter.throttle(now, now, now)
    assert all(later <= earlier for earlier, later in pairwise(rates))
    assert all(later - earlier >= 1 / rates[0] - 1e-9 for earlier, later in pairwise(sent))
    assert limiter.rate == 1.0
    assert len([time for time in sent if time > 590]) <= 11


def test_rate_without_demand_does_not_grow() -> None:
    limiter = RateLimiter(())
    for second in range(10):
        limiter.send(float(second))
        limiter.end(float(second))
        limiter.accept(float(second))
    assert limiter.rate == 5.0
    saturate(limiter, 10.0)
    limiter.accept(11.0)
    assert limiter.rate == pytest.approx(10.0)


@pytest.mark.parametrize(("count", "is_grown"), [(1, False), (5, False), (6, True)])
def test_rate_that_holds_the_next_request_grows(count: int, is_grown: bool) -> None:
    limiter = RateLimiter(())
    for _ in range(count):
        limiter.send(0.0)
        limiter.end(0.0)
    limiter.earliest(0.0)
    limiter.accept(1.0)
    assert (limiter.rate > 5.0) is is_grown


def test_rate_that_held_back_a_withdrawn_request_stays() -> None:
    limiter = RateLimiter(())
    saturate(limiter, 0.0)
    assert limiter.earliest(0.0) > 0.0
    for now in range(3600, 4000, 100):
        limiter.send(now)
        limiter.end(now + LATENCY)
        limiter.accept(now + LATENCY)
    assert limiter.rate == 5.0


def test_rate_of_bursts_that_leave_at_once_stays() -> None:
    """Six each ten seconds: no request is ever held back."""
    limiter = RateLimiter(())
    for now in range(0, 600, 10):
        for _ in range(6):
            assert limiter.earliest(now) == now
            limiter.send(now)
        for _ in range(6):
            limiter.end(now + LATENCY)
            limiter.accept(now + LATENCY)
    assert limiter.rate == 5.0


@pytest.mark.parametrize(("waits", "grown"), [(0.2, 6.0), (0.5, 7.5), (1.0, 10.0), (60.0, 10.0)])
def test_rate_grows_for_a_second_at_most(waits: float, grown: float) -> None:
    """By as much as is due for the time since it first held the next request back."""
    limiter = RateLimiter(())
    saturate(limiter, 0.0)
    limiter.earliest(waits / 2)
    limiter.accept(waits)
    assert limiter.rate == pytest.approx(grown)


@pytest.mark.parametrize(("rate", "is_grown"), [(50.0, True), (100.0, False)])
def test_rate_above_the_in_flight_limit_stays(rate: float, is_grown: bool) -> None:
    """Three requests ahead of the rate, while one in 0.05 s may leave."""
    limiter = RateLimiter(())
    limiter.rate = rate
    for _ in range(8):
        limiter.send(0.0)
    assert limiter.earliest(0.0) == pytest.approx(max(3 / rate, 0.05))
    limiter.accept(1.0)
    assert (limiter.rate > rate) is is_grown


def test_rate_grows_once_for_each_time_held_back() -> None:
    limiter = RateLimiter(())
    saturate(limiter, 0.0)
    limiter.accept(1.0)
    grown = limiter.rate
    assert grown > 5.0
    for second in range(2, 10):
        limiter.accept(float(second))
    assert limiter.rate == grown


@pytest.mark.parametrize("pause", [0.1, 10.0])
def test_answer_behind_closed_gate_raises_no_rate(pause: float) -> None:
    """Nor does it let requests leave earlier, though they are held back for longer than the gate is closed."""
    limiter = RateLimiter(())
    saturate(limiter, 0.0)
    limiter.throttle(0.0, -1.0, pause)
    cut, opens = limiter.rate, max(pause, 0.4)
    assert limiter.earliest(0.0) >= pause
    limiter.accept(0.05)
    assert limiter.rate == cut
    assert limiter.earliest(pause) == pytest.approx(opens)


def test_rate_held_back_by_connections_does_not_grow() -> None:
    """Two in flight, each for a second: the rate of five a second is not what holds them back."""
    limiter = RateLimiter((), max_in_flight=2)
    for second in range(600):
        assert fill(limiter, float(second)) == 2
        for _ in range(2):
            limiter.end(second + 1.0)
            limiter.accept(second + 1.0)
    assert limiter.rate == 5.0


def test_rate_of_sequential_caller_grows() -> None:
    """A caller that asks again and again, each answered in 50 ms, is soon held back by the answers alone."""
    limiter, now = RateLimiter(()), 0.0
    for _ in range(60):
        now = max(now, limiter.earliest(now))
        limiter.send(now)
        now += LATENCY
        limiter.end(now)
        limiter.accept(now)
    assert now < 1.5 * 60 * LATENCY
    assert limiter.rate > 1 / LATENCY


def test_rate_of_regular_bursts_stays_finite() -> None:
    """Twenty polls on each second's tick, never a 429: the rate holds each burst back for a moment."""
    limiter = RateLimiter(())
    for second in range(600):
        now = float(second)
        for _ in range(20):
            now = max(now, limiter.earliest(now))
            limiter.send(now)
            limiter.end(now)
            limiter.accept(now)
    assert limiter.rate == 1000
    assert limiter.earliest(now) <= now + 1


def test_rate_after_five_minutes_of_silence_is_low() -> None:
    limiter = RateLimiter(())
    for now in (0.0, 300.0):
        saturate(limiter, now)
        limiter.accept(now + 1)
    assert limiter.rate == 5.0 * 2**2


def test_silence_of_five_minutes_leads_to_no_herd() -> None:
    limiter = RateLimiter((RateLimit(600, 60),))
    before = drive(limiter, 30)
    after = drive(limiter, 30, start=330.0)
    assert len([time for time in after if time < 331]) <= 0.02 * 600 + limiter.rate + 2
    assert most_in_any_window([*before, *after], 60) <= 600


def test_rate_after_two_429s_grows_slowly_then_faster() -> None:
    limiter = RateLimiter(())
    for number in range(2):
        limiter.throttle(number * 10.0, number * 10 - 1.0, number * 10 + 1.0)
    cut = limiter.rate
    rates = []
    for second in range(12, 112):
        saturate(limiter, float(second))
        limiter.accept(second + 1.0)
        rates.append(limiter.rate)
    assert rates[9] <= cut + 0.5
    assert rates[99] >= 2 * cut


def test_growth_never_exceeds_known_rate() -> None:
    limiter = RateLimiter((RateLimit(60, 60),))
    assert limiter.rate == pytest.approx(0.97)
    for second in range(100):
        saturate(limiter, float(second))
        limiter.accept(second + 1.0)
    assert limiter.rate == pytest.approx(0.97)


def test_in_flight_limit_grows_with_time_without_answers() -> None:
    """By one each twentieth of a second, up to a hundred."""
    limiter = RateLimiter(UNLIMITED)
    assert fill(limiter, 0.0) == 8
    times = list[float]()
    while (at := limiter.earliest(times[-1] if times else 0.0)) < math.inf:
        limiter.send(at)
        times.append(at)
    assert times == pytest.approx([(number + 1) / 20 for number in range(92)])
    assert limiter.in_flight == 100


def test_in_flight_limit_grows_with_each_answer() -> None:
    limiter = RateLimiter(UNLIMITED)
    for count in range(8, 100):
        assert fill(limiter, float(count)) == count
        for _ in range(count):
            limiter.end(float(count))
        limiter.accept(float(count))
    for _ in range(10):
        limiter.accept(100.0)
    assert fill(limiter, 100.0) == 100


def test_in_flight_limit_does_not_shrink() -> None:
    """What silence has allowed stays allowed."""
    limiter = RateLimiter(UNLIMITED)
    fill(limiter, 0.0)
    for number in range(10):
        limiter.send(limiter.earliest(number / 20))
    for _ in range(18):
        limiter.end(2.0)
    assert fill(limiter, 2.0) == 18


@pytest.mark.parametrize("most", [1, 3])
def test_max_in_flight_bounds_requests_in_flight(most: int) -> None:
    limiter = RateLimiter(UNLIMITED, max_in_flight=most)
    for now in (0.0, 10.0):
        assert fill(limiter, now) == most
        assert limiter.earliest(now + 5) == math.inf
        for _ in range(most):
            limiter.end(now + 6)
            limiter.accept(now + 6)


def test_request_taken_back_leaves_its_place() -> None:
    """And its share of the rate, for it never left."""
    limiter = RateLimiter((RateLimit(1, 10),))
    limiter.send(0.0)
    assert limiter.earliest(0.0) == math.inf
    limiter.take_back()
    assert limiter.in_flight == 0
    assert limiter.earliest(0.0) == 0.0


def test_credit_taken_back_never_exceeds_burst() -> None:
    limiter = RateLimiter(())
    limiter.send(0.0)
    limiter.take_back()
    limiter.send(60.0)
    limiter.take_back()
    assert saturate(limiter, 60.0) == 6


@pytest.mark.parametrize(("faults", "is_outage"), [(0, False), (2, False), (3, True), (10, True)])
def test_outage_begins_with_three_transient_faults(faults: int, is_outage: bool) -> None:
    limiter = RateLimiter(UNLIMITED)
    for _ in range(faults):
        limiter.fault()
    limiter.send(0.0)
    assert limiter.earliest(0.0) == (0.5 if is_outage else 0.0)


def test_outage_probes_twice_a_second() -> None:
    limiter = RateLimiter(UNLIMITED)
    for _ in range(3):
        limiter.fault()
    sent = drive(limiter, 60.0)
    assert len(sent) == 120
    assert all(later - earlier >= 0.5 for earlier, later in pairwise(sent))


@pytest.mark.parametrize(("faults", "is_ended"), [(0, False), (2, False), (3, True)])
def test_answer_ends_outage_and_reports_it(faults: int, is_ended: bool) -> None:
    limiter = RateLimiter(UNLIMITED)
    for _ in range(faults):
        limiter.fault()
    limiter.send(0.0)
    limiter.end(0.1)
    assert limiter.accept(0.1) is is_ended
    assert limiter.earliest(0.1) == 0.1
    assert not limiter.accept(0.1)


def test_faults_with_answers_between_are_no_outage() -> None:
    limiter = RateLimiter(UNLIMITED)
    for _ in range(10):
        limiter.fault()
        limiter.fault()
        limiter.accept(0.0)
    limiter.send(0.0)
    assert limiter.earliest(0.0) == 0.0


@pytest.mark.parametrize(
    ("closures", "counts"),
    [
        ([(0.0, 1.0)], [1]),
        ([(0.0, 2.0), (0.0, 2.0), (0.5, 2.0)], [1, 1, 1]),
        ([(0.0, 2.0), (2.0, 4.0), (4.0, 6.0)], [1, 2, 3]),
        ([(0.0, 2.0), (2.0, 4.0), (2.5, 4.0)], [1, 2, 2]),
    ],
)
def test_429s_in_a_row_count_once_a_round(closures: list[tuple[float, float]], counts: list[int]) -> None:
    """Each is given as the time at which its request left, and until when it closes the gate."""
    limiter, counted = RateLimiter(()), []
    for sent, until in closures:
        limiter.throttle(sent + 1, sent, until)
        counted.append(limiter.throttled_in_a_row)
    assert counted == counts
    limiter.accept(10.0)
    limiter.throttle(12.0, 11.0, 13.0)
    assert limiter.throttled_in_a_row == 1


@frozen
class Sent:
    """One request of a session to a service whose quota lies in fixed windows."""

    time: float
    session: int
    is_accepted: bool


def share_quota(starts: Sequence[float], seconds: float, per: float, quota: Callable[[float], int]) -> list[Sent]:
    """Simulate sessions that know no limit, send as much as they may, and share the quota."""
    limiters, used, sent = [RateLimiter(()) for _ in starts], dict[float, int](), list[Sent]()
    events: list[tuple[float, int, float, int]] = [(start, number, -1.0, 0) for number, start in enumerate(starts)]
    heapq.heapify(events)
    while events[0][0] < seconds:
        now, session, left, wait = heapq.heappop(events)
        limiter = limiters[session]
        if left >= 0:
            if wait:
                limiter.throttle(now, left, now + wait)
            else:
                limiter.accept(now)
            limiter.end(now)
        elif (at := limiter.earliest(now)) > now:
            heapq.heappush(events, (min(at, now + LATENCY), session, -1.0, 0))
        else:
            limiter.send(now)
            used[now // per] = used.get(now // per, 0) + 1
            is_accepted = used[now // per] <= quota(now)
            sent.append(Sent(now, session, is_accepted))
            wait = 0 if is_accepted else max(math.ceil((now // per + 1) * per - now), 1)
            heapq.heappush(events, (now + LATENCY, session, now, wait))
            heapq.heappush(events, (now, session, -1.0, 0))
    return sent


def shares(sent: list[Sent], since: float, until: float, quota: float) -> tuple[float, float]:
    """Return the used share of a quota a second in a time, and the share of requests that met a 429."""
    late = [one for one in sent if since <= one.time < until]
    accepted = sum(one.is_accepted for one in late)
    return accepted / (quota * (until - since)), 1 - accepted / len(late)


@pytest.mark.parametrize(("calls", "per"), [(25, 1.0), (250, 10.0), (500, 60.0), (5000, 60.0)])
def test_unknown_quota_is_learned(calls: int, per: float) -> None:
    """Within half a minute, or the first window where that is longer."""
    learned, end = max(30.0, per), 60 + 2 * per
    used, throttled = shares(share_quota([0.0], end, per, lambda _: calls), learned, end, calls / per)
    assert 0.8 <= used <= 1.0
    assert throttled <= 0.03


@pytest.mark.parametrize(("calls", "per", "seconds"), [(25, 1.0, 300.0), (500, 60.0, 600.0)])
@pytest.mark.parametrize("stagger", [0.0, 0.2])
def test_shared_quota_ends_in_fair_shares(calls: int, per: float, seconds: float, stagger: float) -> None:
    sent = share_quota([number * stagger * seconds for number in range(3)], 2 * seconds, per, lambda _: calls)
    used, throttled = shares(sent, seconds, 2 * seconds, calls / per)
    assert used >= 0.8
    assert throttled <= 0.03
    own = Counter(one.session for one in sent if one.is_accepted and one.time >= seconds)
    assert max(own.values()) <= 1.25 * own.total() / 3
    assert min(own.values()) >= 0.75 * own.total() / 3


@pytest.mark.parametrize(("before", "after"), [(500, 250), (500, 1000)])
def test_changed_quota_is_learned_anew(before: int, after: int) -> None:
    """A lower one at once, a higher one within five minutes."""
    sent = share_quota([0.0], 1200, 60, lambda now: before if now < 600 else after)
    used, throttled = shares(sent, 900, 1200, after / 60)
    assert used >= 0.9
    assert throttled <= 0.03
    assert shares(sent, 660, 900, after / 60)[1] <= 0.03


@pytest.mark.parametrize(
    ("calls", "per"), [(0, 60), (-1, 60), (2**63, 60), (1, 0), (1, -1), (1, math.nan), (1, math.inf)]
)
def test_meaningless_limit_raises_value_error(calls: int, per: float) -> None:
    with pytest.raises(ValueError, match=r"calls|per"):
        RateLimit(calls, per)


def test_limit_takes_timedelta() -> None:
    assert RateLimit(500, timedelta(minutes=1)) == COMMUNITY_TIER[0]
    with pytest.raises(TypeError):
        RateLimit(cast("int", 1.5), 60)


@pytest.mark.parametrize("calls", [True, 1.5, "1"])
def test_number_of_another_type_raises_type_error(calls: Any) -> None:
    with pytest.raises(TypeError, match="calls"):
        RateLimit(calls, 60)
