"""The request queue: who leaves next, and that nobody who leaves the queue delays anybody."""

import asyncio
import contextvars
import math
import weakref
from collections.abc import Iterator, Sequence
from functools import partial

import pytest
from attrs import define, field
from by_hand import Hand

from schedules_async._clock import Timer, Timers
from schedules_async._throttling.rate_limiter import RateLimit, RateLimiter
from schedules_async._throttling.request_queue import RequestQueue, Turn

UNLIMITED = (RateLimit(1_000_000, 1),)
ONE_IN_TEN_SECONDS = (RateLimit(1, 10),)


@define(eq=False)
class Queue:
    """A request queue on a loop and a clock that the test moves, and what it grants."""

    limits: Sequence[RateLimit] = UNLIMITED
    hand: Hand = field(factory=Hand)
    limiter: RateLimiter = field(init=False)
    requests: RequestQueue = field(init=False)
    granted: list[tuple[str, float]] = field(init=False, factory=list)
    held: list[Turn] = field(init=False, factory=list)

    def __attrs_post_init__(self) -> None:
        self.limiter = RateLimiter(self.limits)
        timers = Timers(self.hand.clock, self.hand.loop, contextvars.copy_context())
        timers.on_failure = self.on_failure
        self.requests = RequestQueue(self.limiter, timers)

    def on_failure(self, error: BaseException) -> None:
        self.hand.complaints.append({"message": "the clock failed", "exception": error})

    @property
    def names(self) -> str:
        """The names of the turns granted so far."""
        return "".join(name for name, _ in self.granted)

    def request(self, name: str, due: float = 0.0, deadline: float | None = None, *, is_urgent: bool = False) -> Turn:
        grant = partial(self.on_grant, name)
        return self.requests.request(due, due if deadline is None else deadline, grant, is_urgent=is_urgent)

    def on_grant(self, name: str, turn: Turn) -> None:
        assert turn.granted_at == self.hand.clock.now
        self.granted.append((name, turn.granted_at))
        self.held.append(turn)

    def advance(self, seconds: float) -> None:
        self.hand.advance_to(self.hand.clock.now + seconds)

    def serve_all(self) -> str:
        """End each request and wait for the next one, until none is left; return the names of all."""
        self.hand.settle()
        while self.held:
            self.held.pop().give_back(was_sent=True)
            self.advance(60)
        return self.names

    def close_gate(self, until: float) -> None:
        self.limiter.throttle(self.hand.clock.now, -1.0, until)


@pytest.fixture
def queue(request: pytest.FixtureRequest) -> Iterator[Queue]:
    """Return a queue without a limit, or with those of `limited`."""
    queue = Queue(getattr(request, "param", UNLIMITED))
    yield queue
    queue.hand.close()
    assert queue.hand.complaints == []


limited = pytest.mark.parametrize("queue", [(RateLimit(1, 10),)], ids=["one in ten seconds"], indirect=True)


def test_due_turn_is_granted_at_once(queue: Queue) -> None:
    queue.request("a")
    queue.request("b", due=-100.0)
    assert queue.granted == [("a", 0.0), ("b", 0.0)]


def test_turn_is_granted_when_due(queue: Queue) -> None:
    queue.request("b", due=6.0)
    queue.request("a", due=5.0)
    queue.advance(4.9)
    assert queue.granted == []
    queue.advance(2)
    assert queue.granted == [("a", 5.0), ("b", 6.0)]


def test_deadline_says_nothing_before_turn_is_due(queue: Queue) -> None:
    queue.request("a", due=5.0, deadline=7.0)
    queue.request("b", due=6.0, deadline=6.0)
    queue.advance(10)
    assert queue.granted == [("a", 5.0), ("b", 6.0)]


@limited
def test_earliest_deadline_goes_first(queue: Queue) -> None:
    """Turns of one deadline go in the order of their requests."""
    queue.request("-")
    for name, deadline in (("d", 7.0), ("b", 3.0), ("e", 8.0), ("c", 3.0), ("a", 1.0)):
        queue.request(name, 0.0, deadline)
    assert queue.serve_all() == "-abcde"


@limited
@pytest.mark.parametrize(
    ("requested", "granted"),
    [
        ("dddd", "dddd"),
        ("uuuu", "uuuu"),
        ("ddddu", "udddd"),
        ("dduuuu", "ududuu"),
        ("uuuddddd", "udududdd"),
    ],
)
def test_urgent_turn_goes_first_every_second_time(queue: Queue, requested: str, granted: str) -> None:
    """While others wait; `u` are urgent, `d` are due."""
    queue.request("-")
    for name in requested:
        queue.request(name, is_urgent=name == "u")
    assert queue.serve_all() == f"-{granted}"


@limited
def test_urgent_deadline_counts_among_urgent_ones_only(queue: Queue) -> None:
    queue.request("-")
    for name, deadline in (("D", 1.0), ("E", 2.0), ("b", 9.0), ("a", 8.0)):
        queue.request(name, 0.0, deadline, is_urgent=name.islower())
    assert queue.serve_all() == "-aDbE"


@limited
def test_urgent_turn_waits_until_it_is_due(queue: Queue) -> None:
    queue.request("u", due=30.0, is_urgent=True)
    for name in "abc":
        queue.request(name)
    assert queue.serve_all() == "abuc"


@limited
def test_urgent_turn_beside_thousand_others_waits_briefly(queue: Queue) -> None:
    """At any moment: after at most one of those that are due."""
    for _ in range(1000):
        queue.request("d")
    for _ in range(5):
        queue.held.pop().give_back(was_sent=True)
        queue.request("u", deadline=math.inf, is_urgent=True)
        queue.advance(15)
        if queue.names[-1] != "u":
            queue.held.pop().give_back(was_sent=True)
            queue.advance(15)
        assert queue.names[-1] == "u"


def test_closed_gate_holds_back_until_it_opens(queue: Queue) -> None:
    queue.close_gate(30.0)
    queue.request("a")
    queue.request("b", due=10.0)
    queue.advance(20)
    queue.close_gate(40.0)
    queue.advance(19.9)
    assert queue.granted == []
    queue.advance(1)
    assert queue.granted[0] == ("a", 40.0)
    assert queue.names == "ab"


@pytest.mark.parametrize("leaver", range(3))
def test_turn_withdrawn_from_closed_gate_delays_nobody(queue: Queue, leaver: int) -> None:
    queue.close_gate(30.0)
    turns = [queue.request(name) for name in "abc"]
    queue.advance(10)
    turns[leaver].withdraw()
    queue.advance(21)
    assert queue.names == "abc".replace("abc"[leaver], "")
    assert queue.granted[0][1] == 30.0


def test_withdrawn_turn_is_never_granted(queue: Queue) -> None:
    turn = queue.request("a", due=5.0)
    turn.withdraw()
    turn.withdraw()
    queue.advance(10)
    assert queue.granted == []
    assert queue.limiter.in_flight == 0


def test_granted_turn_is_still_held_after_withdrawal(queue: Queue) -> None:
    turn = queue.request("a")
    turn.withdraw()
    assert queue.limiter.in_flight == 1
    turn.give_back(was_sent=True)
    assert queue.limiter.in_flight == 0


@pytest.mark.parametrize("due", [0.0, 3600.0])
def test_last_withdrawn_turn_leaves_no_alarm(queue: Queue, due: float) -> None:
    """And no task that sleeps until then."""
    queue.close_gate(1800.0)
    turns = [queue.request(name, due) for name in "ab"]
    queue.hand.settle()
    assert queue.hand.clock.next_at == max(due, 1800.0)
    for turn in turns:
        turn.withdraw()
    queue.hand.settle()
    assert queue.hand.clock.next_at == math.inf
    assert queue.hand.tasks == set()


@pytest.mark.parametrize("is_urgent", [False, True])
@pytest.mark.parametrize("due", [0.0, 3600.0])
def test_withdrawn_turns_take_no_room(queue: Queue, due: float, is_urgent: bool) -> None:
    """2,000 short waits behind a closed gate, or before they are due, beside a long one."""
    queue.close_gate(1800.0)
    queue.request("a", due, is_urgent=is_urgent)
    left = weakref.WeakSet[Turn | Timer | None]()
    for _ in range(2000):
        turn = queue.request("b", due, is_urgent=is_urgent)
        left.update((turn, turn.timer))
        turn.withdraw()
    del turn
    assert len(left) <= 10
    queue.advance(4000)
    assert queue.names == "a"


def test_crowd_of_withdrawn_turns_takes_no_room(queue: Queue) -> None:
    """Those that all wait before any leaves, too."""
    queue.close_gate(1800.0)
    queue.request("a")
    turns = [queue.request("b", deadline=float(number % 7)) for number in range(1000)]
    left = weakref.WeakSet[Turn | Timer | None]([*turns, *(turn.timer for turn in turns)])
    for turn in turns:
        turn.withdraw()
    turns.clear()
    del turn
    assert len(left) <= 10


@limited
def test_turn_given_back_unsent_lets_another_go(queue: Queue) -> None:
    """At once, for it took nothing of the limit."""
    turn = queue.request("a")
    queue.request("b")
    queue.advance(60)
    assert queue.names == "a"
    turn.give_back()
    assert queue.granted[1] == ("b", 60.0)


@limited
def test_turn_given_back_sent_counts_in_limit(queue: Queue) -> None:
    """From its sending until ten seconds after its end."""
    turn = queue.request("a")
    queue.request("b")
    queue.advance(60)
    turn.give_back(was_sent=True)
    queue.advance(9.9)
    assert queue.names == "a"
    queue.advance(0.2)
    assert queue.granted[1] == ("b", 70.0)


def test_turn_given_back_twice_counts_once(queue: Queue) -> None:
    turns = [queue.request(name) for name in "abc"]
    for _ in range(2):
        turns[0].give_back(was_sent=True)
        turns[1].give_back()
        turns[1].give_back(was_sent=True)
    assert queue.limiter.in_flight == 1


def test_turn_never_granted_gives_nothing_back(queue: Queue) -> None:
    queue.close_gate(30.0)
    turn = queue.request("a")
    turn.give_back(was_sent=True)
    turn.give_back()
    assert queue.limiter.in_flight == 0
    queue.advance(31)
    assert queue.granted == [("a", 30.0)]


def test_connections_in_use_hold_back_until_answer(queue: Queue) -> None:
    queue.limiter.max_in_flight = 2
    turns = [queue.request(name) for name in "abc"]
    queue.advance(3600)
    assert queue.names == "ab"
    turns[1].give_back(was_sent=True)
    assert queue.granted[2] == ("c", 3600.0)


def test_outage_lets_two_a_second_leave(queue: Queue) -> None:
    for _ in range(3):
        queue.limiter.fault()
    for number in range(200):
        queue.request(str(number))
    queue.advance(10)
    assert [time for _, time in queue.granted] == [number / 2 for number in range(21)]
    assert queue.limiter.accept(10.0)
    queue.held.pop().give_back(was_sent=True)
    queue.advance(0.1)
    assert len(queue.granted) > 21


def start_next_turn(queue: Queue, turn: Turn) -> "asyncio.Task[None]":
    """End a turn, and wait for it again in a task, which is named n once it goes on."""

    async def send_again() -> None:
        await queue.requests.next_turn(turn)
        queue.on_grant("n", turn)

    turn.give_back(was_sent=True)
    task = asyncio.Task(send_again(), loop=queue.hand.loop)
    queue.hand.settle()
    return task


@limited
@pytest.mark.parametrize(
    ("deadline", "is_urgent", "granted"), [(5.0, False, "abnc"), (99.0, False, "abcn"), (99.0, True, "abnc")]
)
def test_next_turn_keeps_deadline_and_urgency(queue: Queue, deadline: float, is_urgent: bool, granted: str) -> None:
    turn = queue.request("a", deadline=deadline, is_urgent=is_urgent)
    queue.request("b", deadline=1.0)
    queue.request("c", deadline=9.0)
    task = start_next_turn(queue, turn)
    assert queue.serve_all() == granted
    assert task.done()


def test_next_turn_cancelled_while_waiting_leaves_queue(queue: Queue) -> None:
    turn = queue.request("a")
    queue.close_gate(1800.0)
    task = start_next_turn(queue, turn)
    assert queue.hand.clock.next_at == 1800.0
    task.cancel()
    queue.hand.settle()
    assert task.cancelled()
    assert queue.hand.clock.next_at == math.inf


def test_next_turn_cancelled_when_granted_is_given_back(queue: Queue) -> None:
    queue.limiter.max_in_flight = 1
    turn, other = queue.request("a"), queue.request("b")
    task = start_next_turn(queue, turn)
    other.give_back(was_sent=True)
    assert queue.limiter.in_flight == 1
    task.cancel()
    queue.hand.settle()
    assert task.cancelled()
    assert queue.limiter.in_flight == 0
    queue.request("c")
    assert queue.names == "abc"


def test_turn_granted_to_cancelled_task_is_given_back(queue: Queue) -> None:
    """It is granted between the cancellation of the task and its next step."""
    queue.limiter.max_in_flight = 1
    turn, other = queue.request("a"), queue.request("b")
    task = start_next_turn(queue, turn)
    task.cancel()
    other.give_back(was_sent=True)
    assert queue.limiter.in_flight == 1
    queue.hand.settle()
    assert task.cancelled()
    assert (queue.names, queue.limiter.in_flight) == ("ab", 0)


@pytest.mark.parametrize(("demand", "load"), [(0.0, 1.0), (0.5, 1.0), (9.7, 10.0)])
@pytest.mark.parametrize("queue", [(RateLimit(60, 60),)], ids=["one a second"], indirect=True)
def test_load_is_demand_over_budget(queue: Queue, demand: float, load: float) -> None:
    queue.requests.demand = demand
    assert queue.requests.load == pytest.approx(load)
