"""When a request may leave: the gate that a 429 closes, the rates, and the order of those who wait.

`Pace` decides (pure: it is told the time); `Pacing` makes requests wait for it.
"""

import asyncio
import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable, Sequence

from attrs import define, field, frozen
from attrs.validators import ge, instance_of

from schedules_async._clock import Clock, Timer, Timers, to_seconds

_SHARE_OF_KNOWN_RATE = 0.97
_FIRST_RATE = 5.0  # requests a second, for an unknown quota
_LOWEST_RATE = 1.0
_GROWTHS = (1.0, 0.05)  # of the rate each second: before any refusal, and after the first one
_LEAST_GROWTH, _GROWTH_TIME = 0.5, 20.0  # later: so many requests a second more in so many seconds, or what they grew
_FIRST_CUT = 0.5  # to this share of the rate
_CUT = 0.95
_LARGEST_CUT = 0.8  # at a refusal by a short window
_LONGEST_OF_SHORT_WINDOWS = 2.0  # seconds
_SHORTEST_ROUND = 1.0  # seconds between two cuts
_SHARE_OF_ACCEPTED = 0.95
_ROUNDING = 0.5  # seconds by which a Retry-After is too long on average, being whole seconds
_FIRST_IN_FLIGHT = 8
_MOST_IN_FLIGHT = 100


@frozen
class RateLimit:
    """At most `calls` requests in any window of `per` seconds."""

    calls: int = field(validator=[instance_of(int), ge(1)])
    per: float = field(converter=to_seconds)

    @per.validator
    def _check_per(self, _: object, value: float) -> None:
        if not 0 < value < math.inf:
            raise ValueError(f"per must be positive and finite, and is {value}")


# The vendor's page "Rate limits and quotas".
COMMUNITY_TIER = (RateLimit(500, 60), RateLimit(5000, 3600))
STANDARD_TIER = (RateLimit(5000, 60),)


@define(eq=False, repr=False)
class Window:
    """The slots of one rate limit: a request holds one from when it is sent until `per` after its answer.

    So the count holds at the service too, however long requests are under way.
    """

    limit: RateLimit
    is_fastest: bool
    _under_way: int = field(init=False, default=0)
    _answered: deque[float] = field(init=False, factory=deque)
    _last: float = field(init=False, default=-math.inf)

    def earliest(self, now: float) -> float:
        """Give when the next request may leave; infinity while that depends on an answer."""
        self._let_go(now)
        used = self._under_way + len(self._answered)
        if used >= self.limit.calls:
            return self._answered[0] + self.limit.per if self._answered else math.inf
        return max(now, self._last + 1 / self.lasting_rate(now))

    def lasting_rate(self, now: float) -> float:
        """Give the rate that this limit can bear for long; infinity where a faster one decides.

        A slower limit lets half of it go at the faster one's pace, and spreads the rest, so that it never runs dry:
        the free slots last until the first, a quarter, half ... of the used ones are free.
        """
        self._let_go(now)
        held = len(self._answered)
        free = self.limit.calls - self._under_way - held
        if self.is_fastest or free > self.limit.calls / 2:
            return math.inf
        return min(
            (
                max(free + ahead, 1) / (self._answered[ahead] + self.limit.per - now)
                for ahead in range(0, held, held // 4 + 1)
            ),
            default=math.inf,
        )

    def _let_go(self, now: float) -> None:
        while self._answered and self._answered[0] + self.limit.per <= now:
            self._answered.popleft()

    def take(self, now: float) -> None:
        """Count a request that leaves."""
        self._under_way += 1
        self._last = now

    def answered(self, now: float) -> None:
        """Count its answer, or its end without one."""
        self._under_way -= 1
        self._answered.append(now)


def _make_windows(limits: Sequence[RateLimit]) -> list[Window]:
    fastest = max(limits, key=lambda limit: limit.calls / limit.per, default=None)
    return [Window(limit, limit is fastest) for limit in limits]


@define(eq=False, repr=False)
class Pace:
    """How fast requests may leave, and from when on. Told the time, it answers; it never waits.

    Requests are spread evenly at the lower of the known rate and the learned one. A 429 lowers the learned
    rate once for all requests sent before that cut, and an answer raises it while others wait.
    """

    limits: Sequence[RateLimit]
    closed_until: float = field(init=False, default=-math.inf)
    in_flight_limit: int = field(init=False, default=_FIRST_IN_FLIGHT)
    rate: float = field(init=False)
    _windows: list[Window] = field(init=False)
    _known_rate: float = field(init=False)
    _burst: float = field(init=False)
    _credit: float = field(init=False)  # requests that may leave ahead of the even pace
    _credited: float = field(init=False, default=-math.inf)
    _cuts: int = field(init=False, default=0)
    _rate_after_cut: float = field(init=False, default=math.inf)
    _opened: float = field(init=False, default=math.inf)
    _last_cut: float = field(init=False, default=-math.inf)
    _last_growth: float = field(init=False, default=-math.inf)
    _accepted: int = field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        self._windows = _make_windows(self.limits)
        fastest = [window.limit for window in self._windows if window.is_fastest]
        self._known_rate = _SHARE_OF_KNOWN_RATE * fastest[0].calls / fastest[0].per if fastest else math.inf
        self.rate = min(self._known_rate, math.inf if fastest else _FIRST_RATE)
        # With these many ahead of the even pace, a window of the fastest limit still holds: 0.97 + 0.02 < 1.
        self._burst = self._credit = 0.02 * fastest[0].calls if fastest else _FIRST_RATE

    def earliest(self, now: float) -> float:
        """Give when the next request may leave; infinity while that depends on an answer."""
        return max(
            self.closed_until,
            now - min(self._credit_at(now), 0.0) / self.rate,
            *[window.earliest(now) for window in self._windows],
            now,
        )

    def lasting_rate(self, now: float) -> float:
        """Give how many requests a second may leave in the long run."""
        return min([self.rate, *[window.lasting_rate(now) for window in self._windows]])

    def _credit_at(self, now: float) -> float:
        return min(self._credit + max(now - self._credited, 0.0) * self.rate, self._burst)

    def take(self, now: float) -> None:
        """Count a request that leaves."""
        self._opened = min(self._opened, now)
        self._credit, self._credited = self._credit_at(now) - 1, now
        for window in self._windows:
            window.take(now)

    def answered(self, now: float) -> None:
        """Count the end of a request, answered or not."""
        for window in self._windows:
            window.answered(now)

    def accepted(self, now: float, *, is_demand_waiting: bool) -> None:
        """Learn from an answer that was no refusal."""
        self._accepted += 1
        self.in_flight_limit = min(self.in_flight_limit + 1, _MOST_IN_FLIGHT)
        seconds = min(now - self._last_growth, 1.0)
        self._last_growth = now
        if is_demand_waiting and now >= self.closed_until:
            self._credit, self._credited = self._credit_at(now), now
            self.rate = min(self.rate + seconds * self._growth, self._known_rate)

    @property
    def _growth(self) -> float:
        """Give by how many requests a second the rate grows each second.

        Before any refusal, by a share of itself. After one, by what is alike for all sessions that share a quota, so
        that their shares become fair, and by more the longer none comes.
        """
        if self._cuts < 2:
            return self.rate * _GROWTHS[self._cuts]
        return max(self.rate - self._rate_after_cut, _LEAST_GROWTH) / _GROWTH_TIME

    def refused(self, now: float, sent: float, until: float) -> bool:
        """Learn from a refusal of a request sent at `sent`; tell whether it closed the gate for longer."""
        if sent > self._last_cut and now >= self._last_cut + _SHORTEST_ROUND:
            self._cut(now, until)
        if until <= self.closed_until:
            return False
        self.closed_until = self._opened = until
        self._credit, self._credited = 0.0, until  # no burst when the gate opens
        return True

    def _cut(self, now: float, until: float) -> None:
        """Lower the rate, to a little less than what was accepted from one opening to the next.

        That is what a quota in fixed windows gives. Of short windows it says less, for the time that a refusal names
        is rounded up to a whole second; nothing at the first refusal, when the rate was still growing fast.
        """
        rate = self.rate * (_CUT if self._cuts else _FIRST_CUT)
        is_short = until - now <= _LONGEST_OF_SHORT_WINDOWS
        if self._accepted and (self._cuts or not is_short):
            seconds = max(until - _ROUNDING - self._opened, now - self._opened, _SHORTEST_ROUND)
            found = _SHARE_OF_ACCEPTED * self._accepted / seconds
            rate = min(rate, max(found, self.rate * _LARGEST_CUT) if is_short else found)
        self.rate = self._rate_after_cut = max(rate, min(self.rate, _LOWEST_RATE))
        self._cuts, self._last_cut, self._accepted = self._cuts + 1, now, 0


@define(eq=False, repr=False)
class Plan:
    """A request that is to start at its time, unless it was forgotten; of those that are due the lowest rank is first.

    The rank is a time too: when the request would be due if it made room for others as far as it can.
    """

    due: float
    rank: float
    start: Callable[[float], None] | None


@define(eq=False, repr=False)
class Pacing:
    """Starts planned requests when they are due and lets them leave, lowest rank first, when `pace` allows it.

    Nobody owns the gate or the line: whoever leaves it, cancelled or not, wakes the next.
    """

    pace: Pace
    _clock: Clock
    _timers: Timers
    demand: float = field(init=False, default=0.0)  # the looks a second that all would like, whatever the budget has
    _numbers: "itertools.count[int]" = field(init=False, factory=itertools.count)
    _plans: list[tuple[float, int, Plan]] = field(init=False, factory=list)  # by due time
    _due: list[tuple[float, int, Plan]] = field(init=False, factory=list)  # by rank
    _line: list[tuple[float, int, "asyncio.Future[None]"]] = field(init=False, factory=list)
    _started: int = field(init=False, default=0)
    _alarm: Timer | None = field(init=False, default=None)

    def plan(self, due: float, rank: float, start: Callable[[float], None]) -> Plan | None:
        """Call `start` with the rank at `due`, or as soon after as there is a place; None when called already.

        Whoever is started calls `finished` when it is through.
        """
        if (
            not self._plans
            and not self._due
            and self._started < self.pace.in_flight_limit
            and due <= self._clock.monotonic()
        ):
            self._started += 1
            start(rank)
            return None
        plan = Plan(due, rank, start)
        heapq.heappush(self._plans, (due, next(self._numbers), plan))
        self.go_on()
        return plan if plan.start is not None else None

    def forget(self, plan: Plan) -> None:
        """Never start a planned request."""
        plan.start = None
        if self._plans and self._plans[0][2] is plan:
            self.go_on()

    def finished(self) -> None:
        """Give back the place of a started request."""
        self._started -= 1
        if self._plans or self._due or self._line:
            self.go_on()

    async def slot(self, rank: float) -> float:
        """Wait until a request may leave at once, and count it; give the time. Call `ended` when it has."""
        must_queue = bool(self._line)
        while True:
            now = self._clock.monotonic()
            if not must_queue and self.pace.earliest(now) <= now:
                self.pace.take(now)
                if self._line:
                    self.go_on()
                return now
            await self._turn(rank)
            must_queue = False

    async def _turn(self, rank: float) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._line, (rank, next(self._numbers), turn))
        self.go_on()
        try:
            await turn
        except asyncio.CancelledError:
            self.go_on()
            raise

    def ended(self) -> None:
        """Count the end of a request that left, answered or not."""
        self.pace.answered(self._clock.monotonic())
        if self._line:
            self.go_on()

    def go_on(self) -> None:
        """Start what is due, wake the first in line if it may leave, and see to it that this is done again in time."""
        if self._timers.is_over:
            return
        now = self._clock.monotonic()
        again = min(self._start_due(now), self._wake_first(now))
        if self._alarm is not None:
            if self._alarm.is_pending and self._alarm.when == again:
                return
            self._alarm.cancel()
        self._alarm = self._timers.call_at(again, self.go_on) if again < math.inf else None

    def _start_due(self, now: float) -> float:
        """Start what is due while there are places; give when more is due."""
        while self._plans and (self._plans[0][2].start is None or self._plans[0][0] <= now):
            _, number, plan = heapq.heappop(self._plans)
            if plan.start is not None:
                heapq.heappush(self._due, (plan.rank, number, plan))
        while self._due and self._started < self.pace.in_flight_limit:
            plan = heapq.heappop(self._due)[2]
            start, plan.start = plan.start, None
            if start is not None:
                self._started += 1
                start(plan.rank)
        return self._plans[0][0] if self._plans else math.inf

    def _wake_first(self, now: float) -> float:
        """Wake the first in line if a request may leave; give when to look again."""
        while self._line and self._line[0][2].done():
            heapq.heappop(self._line)
        if not self._line or (at := self.pace.earliest(now)) == math.inf:
            return math.inf
        if at > now:
            return at
        heapq.heappop(self._line)[2].set_result(None)
        return math.inf

    def accepted(self) -> None:
        """Learn from an answer that was no refusal; a request that waits beyond its time is unmet demand."""
        self.pace.accepted(self._clock.monotonic(), is_demand_waiting=bool(self._line or self._due))

    @property
    def lasting_rate(self) -> float:
        """Give how many requests a second the budget has in the long run."""
        return self.pace.lasting_rate(self._clock.monotonic())

    @property
    def stretch(self) -> float:
        """Give how many times more is wanted than the budget has; 1 while there is enough for all."""
        return max(self.demand / self.lasting_rate, 1.0)
