"""The queue of requests that wait for their turn: until they are due, and until the rate limiter lets them leave."""

import asyncio
import math
from collections.abc import Callable
from functools import partial

from attrs import define, field

from schedules_async._clock import Timer, TimerQueue, Timers
from schedules_async._throttling.rate_limiter import RateLimiter


@define(eq=False, repr=False)
class Turn:
    """One request's place in the queue; once granted, its permission to leave, which has to be given back.

    It is due at `due`. Of the turns that are due, the one with the earliest `deadline` goes first: the time by which
    the request should leave, even if it yields to others.
    """

    due: float
    deadline: float
    is_urgent: bool
    _grant: "Callable[[Turn], None]"
    _queue: "RequestQueue"
    granted_at: float = field(init=False, default=math.nan)
    seconds: float = field(init=False, default=0.0)  # the time that the last request took
    timer: Timer | None = field(init=False, default=None)  # until it is granted
    _is_held: bool = field(init=False, default=False)  # granted, and not given back

    def leave(self) -> None:
        """Grant this turn at `dispatched_at`, and count its request as sent."""
        self.timer, self._is_held = None, True
        self.granted_at = self._queue.dispatched_at
        self._queue.limiter.send(self.granted_at)
        self._grant(self)

    def withdraw(self) -> None:
        """Leave the queue; do nothing if the turn was granted."""
        timer, self.timer = self.timer, None
        if timer is not None:
            timer.cancel()
            self._queue.dispatch()  # the alarm may have been for this turn alone

    def give_back(self, *, was_sent: bool = False) -> None:
        """End the request, or make way for another if it was not sent; do nothing if called before."""
        if self._is_held:
            self._is_held = False
            if was_sent:
                self._queue.limiter.end(self._queue.timers.now())
            else:
                self._queue.limiter.take_back()
            self._queue.dispatch()


@define(eq=False, repr=False)
class RequestQueue:
    """Grants turns: urgent ones first, though at most every second turn while others wait, then by deadline.

    No task owns the gate or a place in the queue: a turn that ends, cancelled or not, makes way for the next.
    """

    limiter: RateLimiter
    timers: Timers
    dispatched_at: float = field(init=False, default=-math.inf)  # when the last turn was granted
    demand: float = field(init=False, default=0.0)  # polls a second that all pollers would make without limits
    _urgent: TimerQueue = field(init=False, factory=TimerQueue)
    _due: TimerQueue = field(init=False, factory=TimerQueue)
    _was_urgent: bool = field(init=False, default=False)
    _alarm: Timer | None = field(init=False, default=None)

    @property
    def lasting_rate(self) -> float:
        """The requests per second that the limits allow in the long run."""
        return self.limiter.lasting_rate(self.timers.now())

    @property
    def load(self) -> float:
        """The demand divided by the budget, at least 1."""
        return max(self.demand / self.lasting_rate, 1.0)

    def request(self, due: float, deadline: float, grant: Callable[[Turn], None], *, is_urgent: bool = False) -> Turn:
        """Return a turn; call `grant` with it once it is due and a request may leave, perhaps before this returns."""
        turn, now = Turn(due, deadline, is_urgent, grant, self), self.timers.now()
        if due > now:
            turn.timer = self.timers.call_at(due, partial(self._enter, turn))
        elif self._due.first() is None and self._urgent.first() is None and self.limiter.earliest(now) <= now:
            self.dispatched_at, self._was_urgent = now, is_urgent
            turn.leave()
        else:
            self._enter(turn)
        return turn

    def _enter(self, turn: Turn) -> None:
        """Add a turn that is due to those that wait for the rate limiter, behind earlier deadlines."""
        turn.timer = (self._urgent if turn.is_urgent else self._due).add(turn.deadline, turn.leave)
        self.dispatch()

    async def next_turn(self, turn: Turn) -> Turn:
        """Return one more turn, once it is granted, with the same deadline and urgency."""
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        following = self.request(-math.inf, turn.deadline, partial(_resolve, granted), is_urgent=turn.is_urgent)
        try:
            await granted
        except asyncio.CancelledError:
            following.withdraw()
            following.give_back()
            raise
        return following

    def dispatch(self) -> None:
        """Grant turns for as long as requests may leave, and set the alarm for the next one."""
        at = math.inf
        while (urgent := self._urgent.first()) is not None or self._due.first() is not None:
            now = self.timers.now()
            at = self.limiter.earliest(now)
            if at > now:
                break
            is_urgent = urgent is not None and (self._due.first() is None or not self._was_urgent)
            self.dispatched_at, self._was_urgent, at = now, is_urgent, math.inf
            (self._urgent if is_urgent else self._due).pop()()
        alarm = self._alarm
        if alarm is not None:
            if alarm.when == at and alarm.callback is not None:
                return
            alarm.cancel()
        self._alarm = self.timers.call_at(at, self.dispatch) if at < math.inf else None


def _resolve(granted: "asyncio.Future[None]", _: Turn) -> None:
    if not granted.done():
        granted.set_result(None)
