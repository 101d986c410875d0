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

    It may be granted from `due` on. Of the turns that are due, the one with the earliest `deadline` goes first: the
    time by which the request should leave, even if it yields to others.
    """

    due: float
    deadline: float
    is_urgent: bool
    on_granted: "Callable[[Turn], None]"
    _queue: "RequestQueue"
    granted_at: float = field(init=False, default=math.nan)
    seconds: float = field(init=False, default=0.0)  # the time that the last request took
    timer: Timer | None = field(init=False, default=None)  # until it is granted
    _is_held: bool = field(init=False, default=False)  # granted, and not given back

    def grant(self) -> None:
        """Allow the request of this turn to leave, and count it as sent."""
        self.timer, self._is_held = None, True
        self.granted_at = self._queue.timers.now()
        self._queue.limiter.send(self.granted_at)
        self.on_granted(self)

    def withdraw(self) -> None:
        """Remove this turn from the queue; do nothing if it was granted."""
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
    """Grants turns: urgent ones alternate with others that wait, each kind by deadline.

    A Turn holds a place, not a task: one that is withdrawn or given back makes way for the next.
    """

    limiter: RateLimiter
    timers: Timers
    demand: float = field(init=False, default=0.0)  # polls a second that all pollers would make without limits
    _urgent: TimerQueue = field(init=False, factory=TimerQueue)
    _others: TimerQueue = field(init=False, factory=TimerQueue)
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

    def request(self, due: float, deadline: float, on_granted: Callable[[Turn], None], *, is_urgent: bool) -> Turn:
        """Return a turn; call `on_granted` once it is due and a request may leave, perhaps before this returns."""
        turn = Turn(due, deadline, is_urgent, on_granted, self)
        if due > self.timers.now():
            turn.timer = self.timers.call_at(due, partial(self._enter, turn))
        else:
            self._enter(turn)
        return turn

    def _enter(self, turn: Turn) -> None:
        """Grant a turn that is due, or add it to those that wait for the rate limiter, behind earlier deadlines."""
        is_alone = not self._urgent.pending and not self._others.pending
        if is_alone and self.limiter.earliest(now := self.timers.now()) <= now:
            self._was_urgent = turn.is_urgent
            turn.grant()
        else:
            turn.timer = (self._urgent if turn.is_urgent else self._others).add(turn.deadline, turn.grant)
            self.dispatch()

    async def next_turn(self, turn: Turn) -> None:
        """Return once a turn that was given back is granted again, with the same deadline and urgency."""
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        turn.on_granted = partial(_resolve, granted)
        self._enter(turn)
        try:
            await granted
        except asyncio.CancelledError:
            turn.withdraw()
            turn.give_back()
            raise

    def dispatch(self) -> None:
        """Grant turns for as long as requests may leave, and set the alarm for the next one."""
        at = math.inf
        while self._urgent.pending or self._others.pending:
            now = self.timers.now()
            at = self.limiter.earliest(now)
            if at > now:
                break
            self._was_urgent = self._urgent.pending > 0 and not (self._was_urgent and self._others.pending)
            at = math.inf
            (self._urgent if self._was_urgent else self._others).pop()()
        alarm = self._alarm
        if alarm is not None and alarm.callback is not None:
            if alarm.when == at:
                return
            alarm.cancel()
        self._alarm = self.timers.call_at(at, self.dispatch) if at < math.inf else None


def _resolve(granted: "asyncio.Future[None]", _: Turn) -> None:
    if not granted.done():
        granted.set_result(None)
