"""The gate, the rates and the line under anything in any order: never early, never stuck, never over a limit."""

import asyncio
import math
from collections.abc import Sequence
from functools import partial

from attrs import define, field
from by_hand import Hand
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from schedules_async._clock import Timers
from schedules_async._throttling.rate_limiter import COMMUNITY_TIER, Pace, Pacing, Plan, RateLimit

LIMITS = st.sampled_from(
    [
        (),
        (RateLimit(1, 10),),
        (RateLimit(3, 2),),
        (RateLimit(25, 1),),
        (RateLimit(4, 1), RateLimit(20, 30)),
        (RateLimit(5, 5), RateLimit(6, 100), RateLimit(40, 1000)),
        COMMUNITY_TIER,
    ]
)
SECONDS = st.sampled_from([0.0, 0.001, 0.1, 0.5, 1.0, 2.0, 10.0, 30.0, 100.0]) | st.floats(0, 200)
CHOICE = st.integers(0, 1000)
ROUNDING = 1e-6  # seconds


@define(eq=False)
class Request:
    """One request from its plan to its end, as a look has it."""

    due: float
    plan: Plan | None = None
    task: "asyncio.Task[None] | None" = None
    times: int = 1
    has_begun: bool = False
    answer: "asyncio.Future[float | None] | None" = None  # until when it closes the gate; None when it does not
    is_over: bool = False

    @property
    def is_in_line(self) -> bool:
        return self.has_begun and not self.is_over and self.answer is None


@define(eq=False)
class Slot:
    """What one sent request takes of every limit."""

    ended_at: float = math.inf


@define(eq=False)
class Service:
    """What a machine knows by itself of who may send, told apart from what `Pace` believes."""

    limits: Sequence[RateLimit]
    closed_until: float = field(init=False, default=-math.inf)
    slots: list[Slot] = field(init=False, factory=list)

    def take(self, slot: Slot, now: float) -> None:
        """Fail if a request that is sent now is early, or one too many."""
        assert now >= self.closed_until, "sent while the gate was closed"
        self.slots.append(slot)
        for limit in self.limits:
            held = [slot for slot in self.slots if slot.ended_at + limit.per > now]
            assert len(held) <= limit.calls, f"more than {limit}"


class PacingMachine(RuleBasedStateMachine):
    """Uses `Pacing` as `Looks` does; whoever may go on by the service's own account must go on."""

    def __init__(self) -> None:
        super().__init__()
        self.hand = Hand()
        self.requests: list[Request] = []

    @initialize(limits=LIMITS)
    def open(self, limits: Sequence[RateLimit]) -> None:
        self.service = Service(limits)
        self.pacing = Pacing(Pace(limits), self.hand.clock, Timers(self.hand.clock, self.hand.loop))

    @property
    def now(self) -> float:
        return self.hand.clock.now

    @property
    def going(self) -> list[Request]:
        """The requests that are not over."""
        return [request for request in self.requests if not request.is_over]

    @property
    def under_way(self) -> list[Request]:
        """Those that left and have no answer."""
        return [request for request in self.going if request.answer is not None and not request.answer.done()]

    @rule(count=st.integers(1, 12), ahead=st.sampled_from([-5.0, 0.0, 0.0]) | SECONDS, times=st.integers(1, 3))
    def want(self, count: int, ahead: float, times: int) -> None:
        for number in range(count):
            request = Request(self.now + ahead + number % 3, times=times)
            self.requests.append(request)
            request.plan = self.pacing.plan(request.due, request.due + number % 2, partial(self.start, request))

    def start(self, request: Request, rank: float) -> None:
        assert rank >= request.due
        assert request.task is None, "started twice"
        assert not request.is_over, "started though it was forgotten"
        assert request.due <= self.now, "started before it was due"
        request.plan = None
        request.task = asyncio.Task(self.send(request), loop=self.hand.loop)

    async def send(self, request: Request) -> None:
        """Send, and once more where that is asked for, as after a 401."""
        request.has_begun = True
        try:
            for _ in range(request.times):
                await self.send_once(request)
        finally:
            request.is_over = True
            self.pacing.finished()

    async def send_once(self, request: Request) -> None:
        request.answer = None
        sent_at = await self.pacing.slot(request.due)
        assert sent_at == self.now
        slot = Slot()
        self.service.take(slot, self.now)
        request.answer = self.hand.loop.create_future()
        try:
            until = await request.answer
        finally:
            slot.ended_at = self.now
            self.pacing.ended()
        self.learn(sent_at, until)

    def learn(self, sent_at: float, until: float | None) -> None:
        if until is None:
            self.pacing.accepted()
        else:
            self.service.closed_until = max(self.service.closed_until, until)
            self.pacing.pace.refused(self.now, sent_at, until)

    @precondition(lambda self: self.under_way)
    @rule(choice=CHOICE, count=st.integers(1, 8))
    def answer(self, choice: int, count: int) -> None:
        for _ in range(min(count, len(self.under_way))):
            self.resolve(choice, None)

    @precondition(lambda self: self.under_way)
    @rule(choice=CHOICE, seconds=SECONDS)
    def refuse(self, choice: int, seconds: float) -> None:
        self.resolve(choice, self.now + seconds)

    def resolve(self, choice: int, until: float | None) -> None:
        answer = self.under_way[choice % len(self.under_way)].answer
        assert answer is not None
        answer.set_result(until)

    @precondition(lambda self: self.going)
    @rule(choice=CHOICE, count=st.integers(1, 5))
    def cancel(self, choice: int, count: int) -> None:
        """As a look is dropped, wherever it stands."""
        for request in [self.going[(choice + number) % len(self.going)] for number in range(count)]:
            if request.plan is not None:
                self.pacing.forget(request.plan)
                request.plan, request.is_over = None, True
            elif request.task is not None and request.task.cancel() and not request.has_begun:
                request.is_over = request.has_begun = True
                self.pacing.finished()

    @rule(count=st.integers(1, 4))
    def turn(self, count: int) -> None:
        """Let a little happen, so that the next step meets something half done."""
        self.hand.turn(count)

    @rule(seconds=SECONDS)
    def jump(self, seconds: float) -> None:
        """Let time pass without any chance to do something at its time, as on a busy machine."""
        self.hand.clock.set(self.now + seconds)

    @rule(seconds=SECONDS)
    def pass_time(self, seconds: float) -> None:
        self.hand.advance_to(self.now + seconds)
        self.settle()

    @rule()
    def settle(self) -> None:
        """Once nothing more happens: whoever waits has a reason, and an alarm for when it ends."""
        self.hand.settle()
        started = [request for request in self.going if request.task is not None]
        planned = [request for request in self.going if request.plan is not None]
        assert len(started) <= self.pacing.pace.in_flight_limit
        is_one_sent_again = any(request.times > 1 for request in started)  # a place won meanwhile is filled at its end
        if planned and len(started) < (1 if is_one_sent_again else self.pacing.pace.in_flight_limit):
            earliest_due = min(request.due for request in planned)
            assert earliest_due > self.now, "a plan that is due is not started"
            assert self.hand.clock.next_at <= earliest_due + ROUNDING, "nobody sees to a plan when it is due"
        if any(request.is_in_line for request in started):
            self.check_line()

    def check_line(self) -> None:
        at = self.pacing.pace.earliest(self.now)
        assert min(at, self.hand.clock.next_at) < math.inf or self.under_way, "they wait for what will not come"
        if len(self.service.limits) < 2:  # a slower limit spreads its last calls, and the later it is asked the earlier
            assert at > self.now, "somebody waits who may leave"
            assert self.hand.clock.next_at <= at + ROUNDING, "nobody sees to it when the next may leave"

    @invariant()
    def nothing_goes_wrong(self) -> None:
        """What was asserted while the loop turned is raised here."""
        assert self.hand.complaints == []
        for request in self.requests:
            if request.task is not None and request.task.done() and not request.task.cancelled():
                request.task.result()

    @invariant()
    def closes_the_gate_no_shorter_than_told(self) -> None:
        if hasattr(self, "service"):
            assert self.pacing.pace.closed_until == self.service.closed_until

    def teardown(self) -> None:
        """Answer everything, and everybody gets through."""
        try:
            if hasattr(self, "service"):
                self.drain()
                assert self.hand.tasks == set()
        finally:
            self.hand.close()

    def drain(self) -> None:
        for _ in range(100 + 20 * len(self.requests)):
            self.settle()
            while self.under_way:
                self.resolve(0, None)
            self.hand.settle()
            self.nothing_goes_wrong()
            if not self.going:
                return
            if not self.under_way:
                self.hand.advance_to(self.hand.clock.next_at)
        raise AssertionError("somebody never gets through")


TestPacing = PacingMachine.TestCase
