"""Waits under anything in any order: joining, leaving, failing, timing out, being cancelled, resumed and closed.

The session is the real one; only the wire is in memory, and each request on it stays open until a rule answers.
"""

import asyncio
import json
import math
from collections.abc import Coroutine
from typing import Any, TypeVar

from attrs import define, field
from by_hand import Hand, HandClock
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from multidict import CIMultiDict

from schedules_async import (
    AuthenticationError,
    MalformedResponseError,
    NotFoundError,
    Operation,
    OperationFailedError,
    OperationGroupError,
    OperationGroupWaiter,
    OperationRef,
    OperationStalledError,
    OperationTimeoutError,
    OperationWaiter,
    PermissionDeniedError,
    PollingPolicy,
    RateLimit,
    RateLimitedError,
    RetryPolicy,
    SchedulesError,
    SchedulesSession,
    ServerError,
    SessionClosedError,
    TransportError,
    WaitError,
)
from schedules_async._http.responses import Answer
from schedules_async._http.transport import Transport

Value = TypeVar("Value")
REFS = (OperationRef("s", "a"), OperationRef("s", "b"), OperationRef("t", "a"))
LIMITS = st.sampled_from([(), (RateLimit(1_000_000, 1),), (RateLimit(3, 2),), (RateLimit(5, 1), RateLimit(40, 60))])
POLICIES = (  # without chance, so that what failed fails again
    PollingPolicy.fixed(1.0),
    PollingPolicy.fixed(7.0),
    PollingPolicy(jitter=0, not_found_grace=10),
    PollingPolicy(jitter=0, max_retry_after=20),
)
TIMES = st.sampled_from([None, None, None, None, 0.0, 0.5, 5.0, 60.0, 60.0, 600.0])
OPTIONS = st.fixed_dictionaries({"timeout": TIMES, "stall_timeout": TIMES, "check": st.booleans()})
SECONDS = st.sampled_from([0.0, 0.1, 1.0, 5.0, 30.0, 500.0]) | st.floats(0, 100)
STATUSES = st.sampled_from([None, None, None, None, *["Started"] * 6, "Succeeded", "Failed"])  # None for no change
PAUSES = st.sampled_from([None, 0, 2, 50, 500])
CHOICE = st.integers(0, 1000)
QUIET = 99
TURNS = st.sampled_from([0, 1, 2, 3, QUIET, QUIET, QUIET])  # of the loop, after a step; the next one meets half of it
MOST = {"iterate": 999, "one change": 1, "two changes": 2}
FORMS = st.sampled_from(["await", "iterate", *MOST])
KINDS = {  # of errors, by what was answered
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    429: RateLimitedError,
    500: ServerError,
    503: ServerError,
}
OWN_ERRORS = (OperationFailedError, OperationTimeoutError, OperationStalledError, SessionClosedError)


@define(eq=False)
class Work:
    """The state of one operation in the service; its tag and its percent both count its changes."""

    ref: OperationRef
    changes: int = 0
    status: str = "Started"
    errors: set[type[SchedulesError]] = field(factory=set)  # that it was answered with

    def go_on(self, status: str = "Started") -> None:
        if self.status == "Started":
            self.changes, self.status = self.changes + 1, status

    def answer(self, tag_sent: str | None) -> Answer:
        headers = CIMultiDict({"ETag": f'"{self.changes}"'})
        if tag_sent == headers["ETag"]:
            return Answer(304, headers)
        document = {"id": self.ref.operation_id, "status": self.status, "percentComplete": self.changes}
        return Answer(200, headers, json.dumps({"operation": document}).encode())


@define(eq=False)
class Asked:
    """One request on the wire."""

    ref: OperationRef
    tag: str | None
    answer: "asyncio.Future[Answer]"


class Wire(Transport):
    """Keeps requests until they are answered; none may come while the gate is shut, or a second for one operation."""

    def __init__(self, clock: HandClock) -> None:
        self.clock = clock
        self.open: list[Asked] = []
        self.shut_until = -math.inf

    async def get(self, ref: OperationRef, _: object, tag: str | None) -> Answer:
        assert self.clock.now >= self.shut_until, "asked while the gate was shut"
        assert ref not in [asked.ref for asked in self.open], "asked twice at a time"
        asked = Asked(ref, tag, asyncio.get_running_loop().create_future())
        self.open.append(asked)
        try:
            answer = await asked.answer
        finally:
            self.open.remove(asked)
        if answer.status in (429, 503) and "Retry-After" in answer.headers:
            self.shut_until = max(self.shut_until, self.clock.now + float(answer.headers["Retry-After"]))
        return answer

    async def aclose(self) -> None:
        """Nothing to close."""


@define(eq=False)
class Waiting:
    """One waiter and what it was asked to do."""

    waiter: OperationWaiter | OperationGroupWaiter
    refs: tuple[OperationRef, ...]
    timeout: float | None
    stall_timeout: float | None
    check: bool
    first_use: float = math.inf
    is_closed: bool = False
    shown: dict[OperationRef, float] = field(factory=dict)

    def begin(self, now: float, *, is_session_open: bool) -> None:
        """Note the first use, unless there is nothing left to wait for."""
        if is_session_open and not self.is_closed and self.waiter._state.unfinished:
            self.first_use = min(self.first_use, now)

    @property
    def ends_at(self) -> float:
        return math.inf if self.timeout is None else self.first_use + self.timeout

    @property
    def latest(self) -> dict[OperationRef, Operation]:
        latest = self.waiter.latest
        if isinstance(latest, Operation):
            return {latest.ref: latest}
        return latest or {}


@define(eq=False)
class Use:
    """One await, one iteration, or one single fetch."""

    refs: tuple[OperationRef, ...]
    waiting: Waiting | None
    task: "asyncio.Task[Any]" = field(init=False)
    yielded: list[Operation] = field(init=False, factory=list)
    changes: Any = field(init=False, default=None)
    is_complete: bool = field(init=False, default=False)  # not left before its end
    is_cancelled: bool = field(init=False, default=False)
    is_left: bool = field(init=False, default=False)


def choose(among: list[Value], choice: int) -> Value:
    return among[choice % len(among)]


class WaitingMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.hand = Hand()
        self.wire = Wire(self.hand.clock)
        self.works = {ref: Work(ref) for ref in REFS}
        self.waits: list[Waiting] = []
        self.uses: list[Use] = []
        self.live: list[Use] = []
        self.errors: list[BaseException] = []
        self.is_closed = False

    @initialize(limits=LIMITS, max_outage=st.sampled_from([0.0, 30.0]))
    def open(self, limits: tuple[RateLimit, ...], max_outage: float) -> None:
        self.session = SchedulesSession(
            "token",
            base_url="https://api.example",
            polling=POLICIES[2],
            rate_limits=limits,
            retry=RetryPolicy(attempts=3, base=0, max_outage=max_outage),
            clock=self.hand.clock,
        )
        self.session._transport = self.wire

    @property
    def now(self) -> float:
        return self.hand.clock.now

    # What users do.

    @rule(ref=st.sampled_from(REFS), options=OPTIONS, policy=st.sampled_from(POLICIES), form=FORMS, turns=TURNS)
    def wait_for_one(
        self, *, ref: OperationRef, options: dict[str, Any], policy: PollingPolicy, form: str, turns: int
    ) -> None:
        waiter = self.session.wait_for_operation(*ref, polling=policy, **options)
        self.use(Waiting(waiter, (ref,), **options), form, turns)

    @rule(refs=st.lists(st.sampled_from(REFS), min_size=1, max_size=4), options=OPTIONS, form=FORMS, turns=TURNS)
    def wait_for_many(self, *, refs: list[OperationRef], options: dict[str, Any], form: str, turns: int) -> None:
        self.use(Waiting(self.session.wait_for_operations(refs, **options), tuple(refs), **options), form, turns)

    @precondition(lambda self: self.waits)
    @rule(choice=CHOICE, form=FORMS, turns=TURNS)
    def use_again(self, choice: int, form: str, turns: int) -> None:
        self.use(choose(self.waits[-4:], choice), form, turns)

    @precondition(lambda self: self.waits)
    @rule(choice=CHOICE, form=FORMS, turns=TURNS)
    def resume(self, choice: int, form: str, turns: int) -> None:
        saved = choose(self.waits[-4:], choice)
        text = saved.waiter.checkpoint()
        left = saved.timeout if saved.first_use == math.inf else max(saved.ends_at - self.now, 0.0)
        timeout = None if saved.timeout is None else left
        assert json.loads(text)["wait"]["timeout"] == timeout
        waiter = self.session.resume(text)
        assert type(waiter) is type(saved.waiter)
        self.use(Waiting(waiter, saved.refs, timeout, saved.stall_timeout, saved.check), form, turns)

    def use(self, waiting: Waiting, form: str, turns: int) -> None:
        if waiting not in self.waits:
            self.waits.append(waiting)
            assert len(waiting.waiter.members) == len(set(waiting.refs))  # it counts as used, if cancelled at once
        use = Use(waiting.refs, waiting)
        work = self.await_it(use, waiting) if form == "await" else self.iterate(use, waiting, MOST[form])
        self.begin(use, work, turns)

    async def await_it(self, use: Use, waiting: Waiting) -> Any:
        waiting.begin(self.now, is_session_open=not self.is_closed)
        result = await waiting.waiter
        use.is_complete = True
        return result

    async def iterate(self, use: Use, waiting: Waiting, most: int) -> None:
        waiting.begin(self.now, is_session_open=not self.is_closed)
        use.changes = aiter(waiting.waiter)
        try:
            async for operation in use.changes:
                use.yielded.append(operation)
                if len(use.yielded) == most:
                    return
            use.is_complete = True
        finally:
            use.changes = None  # an iteration that somebody holds goes on

    def begin(self, use: Use, work: Coroutine[Any, Any, Any], turns: int) -> None:
        use.task = asyncio.Task(work, loop=self.hand.loop)
        self.uses.append(use)
        self.live.append(use)
        self.turn(turns)

    @rule(ref=st.sampled_from(REFS), turns=TURNS)
    def get(self, ref: OperationRef, turns: int) -> None:
        self.begin(Use((ref,), None), self.session.get_operation(*ref), turns)

    @precondition(lambda self: self.live)
    @rule(choice=CHOICE, turns=TURNS)
    def cancel(self, choice: int, turns: int) -> None:
        use = choose(self.live, choice)
        use.is_cancelled |= use.task.cancel()
        self.turn(turns)

    @precondition(lambda self: any(use.changes for use in self.live))
    @rule(choice=CHOICE, turns=TURNS)
    def close_iteration(self, choice: int, turns: int) -> None:
        use = choose([use for use in self.live if use.changes], choice)
        use.is_left = True
        self.hand.run(use.changes.aclose())
        self.turn(turns)

    @precondition(lambda self: self.waits)
    @rule(choice=CHOICE, turns=TURNS)
    def close_waiter(self, choice: int, turns: int) -> None:
        waiting = choose(self.waits[-4:], choice)
        waiting.is_closed = True
        self.hand.run(waiting.waiter.aclose())
        self.turn(turns)

    @precondition(lambda self: len(self.uses) > 15 and not self.is_closed)
    @rule(turns=TURNS)
    def close_session(self, turns: int) -> None:
        self.is_closed = True
        self.hand.run(self.session.close())
        self.turn(turns)

    # What the service does.

    @property
    def open_requests(self) -> list[Asked]:
        return [asked for asked in self.wire.open if not asked.answer.done()]

    @precondition(lambda self: self.open_requests)
    @rule(
        choice=CHOICE,
        status=STATUSES,
        is_conditional=st.booleans(),
        turns=TURNS,
    )
    def answer(self, choice: int, status: str | None, is_conditional: bool, turns: int) -> None:
        """Answer with a change or without; not every server answers conditionally."""
        asked = choose(self.open_requests, choice)
        work = self.works[asked.ref]
        if status is not None:
            work.go_on(status)
        asked.answer.set_result(work.answer(asked.tag if is_conditional else None))
        self.turn(turns)

    @precondition(lambda self: self.open_requests)
    @rule(
        choice=CHOICE,
        status=st.sampled_from(sorted(KINDS)),
        seconds=st.sampled_from([None, 0, 2, 50, 500]),
        turns=TURNS,
    )
    def reject(self, choice: int, status: int, seconds: int | None, turns: int) -> None:
        asked = choose(self.open_requests, choice)
        is_for_all = status in (429, 503) and seconds is not None
        for ref in REFS if is_for_all else (asked.ref,):
            self.works[ref].errors.add(KINDS[status])
        asked.answer.set_result(Answer(status, CIMultiDict({} if seconds is None else {"Retry-After": str(seconds)})))
        self.turn(turns)

    @precondition(lambda self: self.open_requests)
    @rule(choice=CHOICE, error=st.sampled_from([TransportError, MalformedResponseError]), turns=TURNS)
    def break_off(self, choice: int, error: type[SchedulesError], turns: int) -> None:
        asked = choose(self.open_requests, choice)
        self.works[asked.ref].errors.add(error)
        asked.answer.set_exception(error("a fault", ref=asked.ref))
        self.turn(turns)

    # What time does.

    def turn(self, turns: int) -> None:
        if turns == QUIET:
            self.settle()
        else:
            self.hand.turn(turns)

    @rule(seconds=SECONDS, turns=TURNS)
    def jump(self, seconds: float, turns: int) -> None:
        """Advance the time without any chance to do something at its time, as on a busy machine."""
        self.hand.clock.set(self.now + seconds)
        self.turn(turns)

    @rule(seconds=SECONDS)
    def pass_time(self, seconds: float) -> None:
        self.hand.advance_to(self.now + seconds)
        self.settle()

    @precondition(lambda self: self.live)
    @rule(answers=st.lists(st.tuples(STATUSES, st.booleans()), min_size=1, max_size=6))
    def live_on(self, answers: list[tuple[str | None, bool]]) -> None:
        """Answer all waits in turn, as on an ordinary day."""
        for status, is_conditional in answers:
            if not self.open_requests and self.hand.clock.next_at < math.inf:
                self.hand.advance_to(self.hand.clock.next_at)
            while self.open_requests:
                self.answer(0, status, is_conditional=is_conditional, turns=0)
            self.settle()

    # What must hold.

    def settle(self) -> None:
        """Once nothing more happens, each pending use has a reason to wait; without uses nothing is under way."""
        self.hand.settle()
        self.judge()
        if not self.live:
            assert self.wire.open == [], "a request that nobody wants"
            assert self.hand.clock.next_at == math.inf, "a timer that nobody needs"
            assert self.session._limiter.in_flight == 0, "a place that nobody uses"
            assert self.session._pool is None or len(self.session._pool.pollers) == 0, "a poller that nobody needs"
        assert not (self.is_closed and self.live), "somebody outlived the session"
        for use in self.live:
            assert self.wire.open or self.hand.clock.next_at < math.inf, "somebody waits for nothing"
            assert not use.is_left, "somebody outlived the iteration"
            assert use.waiting is None or not use.waiting.is_closed, "somebody outlived the waiter"
            assert use.waiting is None or use.waiting.ends_at > self.now, "somebody outlived the timeout"

    @invariant()
    def judge(self) -> None:
        """Check every use that is over, once."""
        assert self.hand.complaints == []
        over, self.live = (
            [use for use in self.live if use.task.done()],
            [use for use in self.live if not use.task.done()],
        )
        for use in over:
            self.check_yielded(use)
            if use.task.cancelled():
                assert use.is_cancelled, "cancelled by nobody"
            else:
                error = use.task.exception()
                if error is not None:
                    assert all(error is not another for another in self.errors), "somebody else's exception"
                    self.errors.append(error)
                    self.check_error(use, error)
                elif use.is_complete:
                    self.check_result(use)

    def check_yielded(self, use: Use) -> None:
        """Changes come in order, each once, and an end is the last."""
        for ref in use.refs:
            yielded = [operation for operation in use.yielded if operation.ref == ref]
            changes = [operation.percent_complete for operation in yielded]
            assert changes == sorted(set(changes)), "not change by change"
            assert not any(operation.is_done for operation in yielded[:-1]), "something after the end"

    def check_error(self, use: Use, error: BaseException) -> None:
        if isinstance(error, OperationGroupError):
            assert len(use.refs) != 1 or isinstance(use.waiting and use.waiting.waiter, OperationGroupWaiter)
            assert error.exceptions
            for each in error.exceptions:
                self.check_error_of_one(use, each)
        else:
            self.check_error_of_one(use, error)

    def check_error_of_one(self, use: Use, error: BaseException) -> None:
        assert isinstance(error, SchedulesError), repr(error)
        waiting = use.waiting
        if isinstance(error, SessionClosedError):
            assert self.is_closed
            return
        if type(error) is WaitError:
            assert waiting is not None
            assert waiting.is_closed
            return
        assert error.ref in use.refs
        if isinstance(error, OWN_ERRORS):
            assert waiting is not None
        if isinstance(error, OperationTimeoutError):
            assert waiting is not None
            assert waiting.ends_at <= self.now, "too early"
        elif isinstance(error, OperationStalledError):
            assert waiting is not None
            assert waiting.first_use + (waiting.stall_timeout or 0.0) <= self.now, "too early"
        elif isinstance(error, OperationFailedError):
            assert waiting is not None
            assert waiting.check
            assert self.works[error.ref].status == "Failed"
        else:
            assert type(error) in self.works[error.ref].errors, f"out of nowhere: {error!r}"

    def check_result(self, use: Use) -> None:
        """The result is the last state of the service; an iteration ends with it too."""
        result = use.task.result()
        if use.is_left or (use.waiting is not None and use.waiting.is_closed):
            return
        if result is None:
            for ref in use.refs:
                final = [operation for operation in use.yielded if operation.ref == ref and operation.is_done]
                assert len(final) == 1 or not use.waiting or not use.waiting.check, "no end"
            return
        results = result if isinstance(result, list) else [result]
        assert [one.ref for one in results] == list(use.refs)
        for one in results:
            if isinstance(one, Operation):
                assert use.waiting is None or one.is_done
                assert use.waiting is None or one.raw_status == self.works[one.ref].status
            else:
                assert use.waiting is not None
                assert not use.waiting.check
                self.check_error_of_one(use, one)

    @invariant()
    def what_waiters_show_goes_on(self) -> None:
        for waiting in self.waits:
            repr(waiting.waiter)
            assert waiting.waiter.time_remaining is None or waiting.waiter.time_remaining.low >= 0
            for ref, operation in waiting.latest.items():
                assert operation.percent_complete >= waiting.shown.get(ref, 0.0), "back in time"
                waiting.shown[ref] = operation.percent_complete

    def teardown(self) -> None:
        """End everything well: everybody gets through, and nothing is left."""
        try:
            if hasattr(self, "session"):
                self.drain()
                self.hand.run(self.session.close())
                assert self.hand.tasks == set()
        finally:
            self.hand.close()

    def drain(self) -> None:
        for _ in range(100 + 20 * len(self.uses)):
            self.settle()
            if not self.live:
                return
            while self.open_requests:
                self.answer(0, "Succeeded", is_conditional=True, turns=0)
            self.hand.settle()
            if not self.wire.open:
                self.hand.advance_to(min(self.hand.clock.next_at, self.now + 10_000))
        raise AssertionError("somebody never gets through")


TestWaiting = WaitingMachine.TestCase
