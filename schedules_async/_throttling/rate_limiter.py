"""When requests may leave, and at what rate. Without clock and I/O: the time is an argument.

`Fetcher._learn` of `_polling/fetcher.py` computes how long a 429 closes the gate, and `PollerPool.end_impatient` of
`_polling/poller.py` ends the waits that do not accept it.
"""

import math
import sys
from collections import deque
from collections.abc import Iterable, Sequence

from attrs import define, field, frozen, setters
from attrs.validators import ge, gt, instance_of, le, lt

from schedules_async._clock import to_seconds

_SHARE_OF_KNOWN_RATE = 0.97
_FIRST_RATE, _HIGHEST_RATE = 5.0, 1000.0  # requests a second, for an unknown quota
_LOWEST_RATE = 1.0
_GROWTHS = (1.0, 0.05)  # each second, as a share of the rate: before any 429, and after the first
_LEAST_GROWTH, _GROWTH_TIME = 0.5, 20.0  # after later ones: in 20 s, by the growth since the last cut, at least 0.5
_SHARE_AFTER_FIRST_CUT = 0.5  # of the rate: what remains at the first 429
_SHARE_AFTER_CUT = 0.95  # at later 429s
_LEAST_SHARE_AFTER_CUT = 0.8  # at a 429 of a short window
_LONGEST_SHORT_WINDOW = 2.0  # seconds
_SHORTEST_ROUND = 1.0  # seconds between two cuts
_SHARE_OF_ACCEPTED = 0.95
_ROUNDING = 0.5  # seconds by which a Retry-After is too long on average, as it is rounded up
_FIRST_IN_FLIGHT = 8
MAX_IN_FLIGHT = 100
_STALLED_INTERVAL = 0.05  # seconds between requests while `_in_flight_limit` of them are unanswered
_FAULTS_BEFORE_PROBES = 3  # transient faults in a row
_PROBE_INTERVAL = 0.5  # seconds between requests then


@frozen
class RateLimit:
    """A rate limit of `calls` requests in any window of `per` seconds (a number or a `timedelta`).

    >>> RateLimit(500, 60)
    RateLimit(calls=500, per=60.0)
    """

    calls: int = field(validator=[instance_of(int), ge(1), le(sys.maxsize)])
    per: float = field(converter=to_seconds, validator=[gt(0.0), lt(math.inf)])

    @calls.validator
    def _check_calls(self, _: object, value: int) -> None:
        if isinstance(value, bool):
            raise TypeError("calls must be a number, not a bool")


# The vendor's page "Rate limits and quotas".
COMMUNITY_TIER = (RateLimit(500, 60), RateLimit(5000, 3600))
STANDARD_TIER = (RateLimit(5000, 60),)


@define(eq=False, repr=False)
class Window:
    """The requests that count in one rate limit: each counts from when it is sent until `per` seconds after its answer.

    The limit therefore holds at the service too, however long requests are in flight.
    """

    limit: RateLimit
    is_fastest: bool
    answered: deque[float] = field(init=False, factory=deque)  # when each request ended

    def lasting_rate(self, now: float, in_flight: int) -> float:
        """Return the rate that this limit allows in the long run; infinity if a faster limit decides.

        Up to half of a slower limit may be used at the faster limit's rate. The rest is spread: the rate is the lowest
        at which the free requests last until the first, a quarter, half ... of those counted have left the window.
        """
        while self.answered and self.answered[0] + self.limit.per <= now:
            self.answered.popleft()
        held = len(self.answered)
        free = self.limit.calls - in_flight - held
        if self.is_fastest or free > self.limit.calls / 2:
            return math.inf
        return min(
            (
                max(free + ahead, 1) / (self.answered[ahead] + self.limit.per - now)
                for ahead in range(0, held, held // 4 + 1)
            ),
            default=math.inf,
        )


def _check_rate_limits(limits: Sequence[RateLimit]) -> tuple[RateLimit, ...]:
    if isinstance(limits, RateLimit) or not isinstance(limits, Iterable):
        raise TypeError(f"rate_limits must be a sequence of RateLimit, not {type(limits).__name__}")
    checked = tuple(limits)
    for limit in checked:
        if not isinstance(limit, RateLimit):
            raise TypeError(f"each of rate_limits must be a RateLimit, not {type(limit).__name__}")
    return checked


def _make_windows(limits: Sequence[RateLimit]) -> list[Window]:
    fastest = max(limits, key=lambda limit: limit.calls / limit.per, default=None)
    return [Window(limit, limit is fastest) for limit in limits]


@define(eq=False, repr=False, on_setattr=setters.NO_OP)  # else attrs would call hooks at each assignment
class RateLimiter:
    """When the next request of a session may leave.

    Requests are spread evenly at the lower of the declared rate and the learned one. A 429 closes the gate until
    `closed_until` and lowers the learned rate, once for all requests sent before that cut. An answer raises the rate
    only if the rate has held a request back since the previous one, and in proportion to the time since then (a second
    at most); otherwise it reveals nothing about the quota. At most `max_in_flight` requests are in flight: few at
    first, one more after each accepted one, and after each twentieth of a second without an answer. After transient
    faults in a row, a few requests a second probe the service until it answers.
    """

    limits: Sequence[RateLimit] = field(converter=_check_rate_limits)
    max_in_flight: float = MAX_IN_FLIGHT
    closed_until: float = field(init=False, default=-math.inf)
    in_flight: int = field(init=False, default=0)
    rate: float = field(init=False)
    throttled_in_a_row: int = field(init=False, default=0)
    _windows: list[Window] = field(init=False)
    _known_rate: float = field(init=False)
    _burst: float = field(init=False)
    _credit: float = field(init=False)  # requests that may leave ahead of the even rate
    _credited_at: float = field(init=False, default=-math.inf)
    _in_flight_limit: float = field(init=False, default=_FIRST_IN_FLIGHT)
    _last_sent: float = field(init=False, default=-math.inf)
    _bound_since: float | None = field(init=False, default=None)  # since when the rate alone holds a request back
    _cuts: int = field(init=False, default=0)
    _rate_after_cut: float = field(init=False, default=math.inf)
    _last_cut: float = field(init=False, default=-math.inf)
    _busy_since: float | None = field(init=False, default=None)  # since when `_accepted` measures the quota
    _accepted: int = field(init=False, default=0)
    _faults: int = field(init=False, default=0)  # transient ones in a row
    _closed_seconds: float = field(init=False, default=0.0)  # in total, up to `closed_until`

    def __attrs_post_init__(self) -> None:
        self._windows = _make_windows(self.limits)
        fastest = [window.limit for window in self._windows if window.is_fastest]
        self._known_rate = _SHARE_OF_KNOWN_RATE * fastest[0].calls / fastest[0].per if fastest else _HIGHEST_RATE
        self.rate = self._known_rate if fastest else _FIRST_RATE
        # With such a burst ahead of the even rate, the fastest limit still holds: 0.97 + 0.02 < 1.
        self._burst = self._credit = 0.02 * fastest[0].calls if fastest else _FIRST_RATE

    def earliest(self, now: float) -> float:
        """Return when a request that is due may leave; infinity while that depends on an answer.

        Note since when the rate alone holds it back.
        """
        at, credit = max(self.closed_until, now), self._credit_at(now)
        if self.in_flight >= self.max_in_flight:
            return math.inf
        if self.in_flight >= self._in_flight_limit:
            at = max(at, self._last_sent + _STALLED_INTERVAL)
        if self._faults >= _FAULTS_BEFORE_PROBES:
            at = max(at, self._last_sent + _PROBE_INTERVAL)
        for window in self._windows:
            rate, answered = window.lasting_rate(now, self.in_flight), window.answered
            if self.in_flight + len(answered) < window.limit.calls:
                at = max(at, self._last_sent + 1 / rate)
            else:
                at = max(at, answered[0] + window.limit.per if answered else math.inf)
        if credit < 0 and (even := now - credit / self.rate) > at:
            at = even
            if self._bound_since is None:
                self._bound_since = now
        return at

    def lasting_rate(self, now: float) -> float:
        """Return the requests per second that may leave in the long run."""
        rate = self.rate
        for window in self._windows:
            rate = min(rate, window.lasting_rate(now, self.in_flight))
        return rate

    def closed_seconds(self, now: float) -> float:
        """Return the total seconds for which the gate has been closed until now."""
        return self._closed_seconds - max(self.closed_until - now, 0.0)

    def _credit_at(self, now: float) -> float:
        return min(self._credit + max(now - self._credited_at, 0.0) * self.rate, self._burst)

    def send(self, now: float) -> None:
        """Count a request that leaves."""
        credit = self._credit_at(now)
        if self._last_sent == -math.inf:
            self._busy_since = now
        elif credit >= self._burst:
            self._busy_since = None  # there was too little demand to measure anything
        if credit >= 1:
            self._bound_since = None  # nothing was held back
        self._credit, self._credited_at, self._last_sent = credit - 1, now, now
        self._in_flight_limit = max(self._in_flight_limit, self.in_flight + 1)
        self.in_flight += 1

    def take_back(self) -> None:
        """Undo the count of a request that did not leave after all."""
        self.in_flight -= 1
        self._credit = min(self._credit + 1, self._burst)

    def end(self, now: float) -> None:
        """Count the end of a request that left, answered or not."""
        self.in_flight -= 1
        for window in self._windows:
            window.answered.append(now)

    def accept(self, now: float) -> bool:
        """Learn from an answer that was neither a 429 nor a transient fault; return whether it ended the probes."""
        was_probing = self._faults >= _FAULTS_BEFORE_PROBES
        self._accepted += 1
        self._faults = self.throttled_in_a_row = 0
        self._in_flight_limit = min(self._in_flight_limit + 1, MAX_IN_FLIGHT)
        since, self._bound_since = self._bound_since, None
        if since is not None and now >= self.closed_until:
            self._credit, self._credited_at = self._credit_at(now), now
            if self._cuts < len(_GROWTHS):
                growth = self.rate * _GROWTHS[self._cuts]
            else:  # the same for all sessions that share a quota, so that their shares become fair
                growth = max(self.rate - self._rate_after_cut, _LEAST_GROWTH) / _GROWTH_TIME
            self.rate = min(self.rate + min(now - since, 1.0) * growth, self._known_rate)
        return was_probing

    def fault(self) -> None:
        """Count a transient fault."""
        self._faults += 1

    def throttle(self, now: float, sent: float, until: float) -> bool:
        """Learn from a 429 to a request sent at `sent`; return whether it closed the gate for longer.

        Several 429s to requests that were in flight together count once in `throttled_in_a_row`.
        """
        self.throttled_in_a_row += sent >= self.closed_until or not self.throttled_in_a_row
        if sent > self._last_cut and now >= self._last_cut + _SHORTEST_ROUND:
            self._cut(now, until)
        self._bound_since = None
        if until <= self.closed_until:
            return False
        self._closed_seconds += until - max(self.closed_until, now)
        self._credit, self._credited_at = min(self._credit_at(until), 0.0), until  # no burst when the gate opens
        self.closed_until = self._busy_since = until
        return True

    def _cut(self, now: float, until: float) -> None:
        """Lower the rate to a fixed share or, if less, to just below the rate accepted since the last cut.

        The accepted rate measures a quota in fixed windows. It is ignored if demand was low, and at the first 429 if
        the window is short: there it is inexact, as Retry-After is rounded up and the rate still grows fast.
        """
        rate = self.rate * (_SHARE_AFTER_CUT if self._cuts else _SHARE_AFTER_FIRST_CUT)
        is_short = until - now <= _LONGEST_SHORT_WINDOW
        if self._busy_since is not None and self._accepted and (self._cuts or not is_short):
            seconds = max(until - _ROUNDING - self._busy_since, now - self._busy_since, _SHORTEST_ROUND)
            found = _SHARE_OF_ACCEPTED * self._accepted / seconds
            rate = min(rate, max(found, self.rate * _LEAST_SHARE_AFTER_CUT) if is_short else found)
        self.rate = self._rate_after_cut = max(rate, min(self.rate, _LOWEST_RATE))
        self._cuts, self._last_cut, self._accepted = self._cuts + 1, now, 0
