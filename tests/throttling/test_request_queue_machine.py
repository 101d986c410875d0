"""The request queue under anything in any order: never early, never stuck, never over a limit, no place lost."""

import asyncio
import contextvars
import math
from collections.abc import Sequence
from functools import partial

from attrs import define, field, frozen
from by_hand import Hand
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from schedules_async._clock import Timers
from schedules_async._throttling.rate_limiter import COMMUNITY_TIER, RateLimit, RateLimiter
from schedules_async._throttling.request_queue import RequestQueue, Turn

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


@frozen
class Answer:
    """What a request meets: the contract's answer, a transient fault, or a 429 that closes the gate."""

    is_fault: bool = False
    closed_until: float | None = None


class NotSentError(Exception):
    """The gate closed between the grant and the sending."""


@define(eq=False)
class Request:
    """One request from its place in the queue to its end, as a poller and its fetch treat it."""

    due: float
    deadline: float
    is_urgent: bool
    times: int
    turn: Turn | None = None
    task: "asyncio.Task[None] | None" = None
    is_in_next_turn: bool = False
    answer: "asyncio.Future[Answer] | None" = None
    is_over: bool = False

    def is_waiting(self, now: float) -> bool:
        """True if the request is due and waits for the rate limiter."""
        is_due = self.task is None and self.due + ROUNDING <= now
        return not self.is_over and (is_due or self.is_in_next_turn)


@define(eq=False)
class Slot:
    """What one sent request takes of every limit."""

    ended_at: float = math.inf


@define(eq=False)
class Service:
    """The service's own account of who may send, apart from what the rate limiter believes."""

    limits: Sequence[RateLimit]
    closed_until: float = field(init=False, default=-math.inf)
    slots: list[Slot] = field(init=False, factory=list)

    def receive(self, slot: Slot, now: float) -> None:
        """Fail if a request that is sent now is early, or one too many."""
        assert now >= self.closed_until, "sent while the gate was closed"
        self.slots.append(slot)
        for limit in self.limits:
            held = [slot for slot in self.slots if slot.ended_at + limit.per > now]
            assert len(held) <= limit.calls, f"more than {limit}"


class RequestQueueMachine(RuleBasedStateMachine):
    """Uses a request queue as pollers do; a request that may leave by the service's own account must leave."""

    def __init__(self) -> None:
        super().__init__()
        self.hand = Hand()
        self.requests: list[Request] = []

    @initialize(limits=LIMITS, max_in_flight=st.sampled_from([1, 3, 100]))
    def open(self, limits: Sequence[RateLimit], max_in_flight: int) -> None:
        self.service = Service(limits)
        self.limiter = RateLimiter(limits, max_in_flight)
        self.max_in_flight = max_in_flight
        timers = Timers(self.hand.clock, self.hand.loop, contextvars.copy_context())
        timers.on_failure = self.on_failure
        self.queue = RequestQueue(self.limiter, timers)

    def on_failure(self, error: BaseException) -> None:
        self.hand.complaints.append({"message": "the clock failed", "exception": error})

    @property
    def now(self) -> float:
        return self.hand.clock.now

    @property
    def going(self) -> list[Request]:
        """The requests that are not over."""
        return [request for request in self.requests if not request.is_over]

    @property
    def under_way(self) -> list[Request]:
        """The requests that left and have no answer."""
        return [request for request in self.going if request.answer is not None and not request.answer.done()]

    @rule(
        count=st.integers(1, 12),
        ahead=st.sampled_from([-5.0, 0.0, 0.0]) | SECONDS,
        times=st.integers(1, 3),
        is_urgent=st.booleans(),
    )
    def want(self, count: int, ahead: float, times: int, is_urgent: bool) -> None:
        for number in range(count):
            due = self.now + ahead + number % 3
            request = Request(due, due + number % 2, is_urgent, times)
            self.requests.append(request)
            self.enqueue(request)

    def enqueue(self, request: Request) -> None:
        grant = partial(self.start, request)
        request.turn = self.queue.request(request.due, request.deadline, grant, is_urgent=request.is_urgent)

    def start(self, request: Request, turn: Turn) -> None:
        assert request.task is None, "started twice"
        assert not request.is_over, "started though it was withdrawn"
        assert request.due <= self.now, "started before it was due"
        assert turn.granted_at == self.now
        request.task = asyncio.Task(self.send(request, turn), loop=self.hand.loop)
        request.task.add_done_callback(partial(self.on_done, request, turn))

    def on_done(self, request: Request, turn: Turn, task: "asyncio.Task[None]") -> None:
        """Return the turn of a task that was cancelled before it began; send again what was not sent."""
        turn.give_back()
        request.is_in_next_turn = False
        if not task.cancelled() and isinstance(task.exception(), NotSentError):
            request.task = request.answer = None
            self.enqueue(request)
        else:
            request.is_over = True

    async def send(self, request: Request, turn: Turn) -> None:
        """Send, and again in further turns where asked for, as after a 401."""
        try:
            for number in range(request.times):
                if number:
                    request.is_in_next_turn, request.answer = True, None
                    await self.queue.next_turn(turn)
                    request.is_in_next_turn = False
                    assert turn.granted_at <= self.now
                await asyncio.sleep(0)  # its token
                await self.send_once(request, turn)
        finally:
            turn.give_back()

    async def send_once(self, request: Request, turn: Turn) -> None:
        if self.now < self.service.closed_until:
            raise NotSentError
        slot = Slot()
        self.service.receive(slot, self.now)
        request.answer = self.hand.loop.create_future()
        try:
            self.learn(turn.granted_at, await request.answer)
        finally:
            slot.ended_at = self.now
            turn.give_back(was_sent=True)

    def learn(self, sent: float, answer: Answer) -> None:
        if answer.closed_until is not None:
            self.service.closed_until = max(self.service.closed_until, answer.closed_until)
            self.limiter.throttle(self.now, sent, answer.closed_until)
        elif answer.is_fault:
            self.limiter.fault()
        else:
            self.limiter.accept(self.now)

    @precondition(lambda self: self.under_way)
    @rule(choice=CHOICE, count=st.integers(1, 8), is_fault=st.sampled_from([False, False, True]))
    def answer(self, choice: int, count: int, is_fault: bool) -> None:
        for _ in range(min(count, len(self.under_way))):
            self.resolve(choice, Answer(is_fault=is_fault))

    @precondition(lambda self: self.under_way)
    @rule(choice=CHOICE, pauses=st.lists(SECONDS, min_size=1, max_size=4))
    def throttle(self, choice: int, pauses: list[float]) -> None:
        for seconds in pauses[: len(self.under_way)]:
            self.resolve(choice, Answer(closed_until=self.now + seconds))

    def resolve(self, choice: int, answer: Answer) -> None:
        pending = self.under_way[choice % len(self.under_way)].answer
        assert pending is not None
        pending.set_result(answer)

    @precondition(lambda self: self.going)
    @rule(choice=CHOICE, count=st.integers(1, 5))
    def cancel(self, choice: int, count: int) -> None:
        """Drop requests, as a poller that everybody left does, wherever they stand."""
        for request in [self.going[(choice + number) % len(self.going)] for number in range(count)]:
            if request.task is not None:
                request.task.cancel()
            elif request.turn is not None:
                request.turn.withdraw()
                request.is_over = True
            if not self.going:
                break

    @rule(count=st.integers(1, 4))
    def iterate(self, count: int) -> None:
        """Run the loop for a little, so that the next step meets something half done."""
        self.hand.turn(count)

    @rule(seconds=SECONDS)
    def jump(self, seconds: float) -> None:
        """Advance the time without any chance to do something at its time, as on a busy machine."""
        self.hand.clock.set(self.now + seconds)

    @rule(seconds=SECONDS)
    def pass_time(self, seconds: float) -> None:
        self.hand.advance_to(self.now + seconds)
        self.settle()

    @rule()
    def settle(self) -> None:
        """Once nothing more happens: whoever waits has a reason, and an alarm for when it ends."""
        self.hand.settle()
        assert self.limiter.in_flight == len(self.under_way), "a place was not given back, or twice"
        assert self.limiter.in_flight <= self.max_in_flight
        planned = [request.due for request in self.going if request.task is None and request.due > self.now]
        if planned:
            assert self.hand.clock.next_at <= min(planned) + ROUNDING, "no alarm for when a request is due"
        if any(request.is_waiting(self.now) for request in self.requests):
            self.check_queue()

    def check_queue(self) -> None:
        at = self.limiter.earliest(self.now)
        assert min(at, self.hand.clock.next_at) < math.inf or self.under_way, "they wait for what will not come"
        if len(self.service.limits) < 2:  # a slower limit spreads its last calls: the later it is asked, the earlier
            assert at > self.now, "somebody waits who may leave"
            assert self.hand.clock.next_at <= at + ROUNDING, "no alarm for when the next may leave"

    @invariant()
    def nothing_goes_wrong(self) -> None:
        """What was asserted while the loop ran is raised here."""
        assert self.hand.complaints == []
        for request in self.requests:
            if request.task is not None and request.task.done() and not request.task.cancelled():
                error = request.task.exception()
                if error is not None and not isinstance(error, NotSentError):
                    raise error

    @invariant()
    def gate_is_closed_as_long_as_named(self) -> None:
        if hasattr(self, "service"):
            assert self.limiter.closed_until == self.service.closed_until

    def teardown(self) -> None:
        """Answer everything; then every request ends, and nothing is left."""
        try:
            if hasattr(self, "service"):
                self.drain()
                assert self.limiter.in_flight == 0
                assert self.hand.tasks == set()
        finally:
            self.hand.close()

    def drain(self) -> None:
        for _ in range(100 + 20 * len(self.requests)):
            self.settle()
            while self.under_way:
                self.resolve(0, Answer())
            self.hand.settle()
            self.nothing_goes_wrong()
            if not self.going:
                return
            if not self.under_way:
                self.hand.advance_to(self.hand.clock.next_at)
        raise AssertionError("a request never ends")


TestRequestQueue = RequestQueueMachine.TestCase
