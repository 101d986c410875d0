"""Looks: one GET of an operation at a time, however many want it, paced, and repeated after a fault.

A look is wanted by users, each at its time; it is planned at the earliest. What its attempt gave is decided
on at once, in plain methods: tell the users, or plan the next attempt.
"""

import asyncio
import logging
import math
from collections.abc import Callable, MutableMapping
from typing import Protocol

from attrs import define, field

from schedules_async._auth.tokens import Tokens
from schedules_async._clock import Clock
from schedules_async._hooks import Hooks
from schedules_async._http.responses import Answer, Seen, hide, read_answer, read_refusal, request_headers
from schedules_async._http.retry import RetryPolicy, is_passing, pause_before_repeat
from schedules_async._http.transport import NotSentError, Transport
from schedules_async._operations.base_errors import own_copy
from schedules_async._operations.operation import Operation
from schedules_async._operations.ref import OperationRef
from schedules_async._stats import Tally
from schedules_async._throttling.rate_limiter import Pacing, Plan
from schedules_async.errors import (
    AuthenticationError,
    MalformedResponseError,
    NotFoundError,
    RateLimitedError,
    ResponseError,
    SchedulesError,
    SessionClosedError,
)
from schedules_async.events import Polled, Retried, Throttled

Outcome = Seen | BaseException
COPIED = (SchedulesError, ValueError, TypeError)  # what leaves the library; each who is told gets one of his own
_LOGGER = logging.getLogger("schedules_async")


class LookUser(Protocol):
    """Somebody who wants a look."""

    def look_ended(self, outcome: Outcome) -> None:
        """Take what the look gave, or why it gave nothing; the user no longer counts as wanting it."""

    def put_off(self, until: float, refusal: ResponseError) -> None:
        """Hear that there is no look before `until`, and of the answer that said so."""


@define(eq=False, repr=False)
class Look:
    """One wanted look and what its attempts have met so far."""

    ref: OperationRef
    _polls: "Looks"
    users: dict[LookUser, tuple[float, float]] = field(factory=dict)
    plan: Plan | None = None
    task: "asyncio.Task[None] | None" = None
    faults: int = 0
    not_before: float = -math.inf
    is_under_way: bool = False
    has_begun: bool = False

    @property
    def times(self) -> tuple[float, float]:
        """Give when the next attempt is due, and its rank: the users' earliest, and no earlier than a fault's pause."""
        dues, ranks = zip(*self.users.values(), strict=True)
        due = max(min(dues), self.not_before)
        return due, max(min(ranks), due)

    def start(self, rank: float) -> None:
        """Begin an attempt, when its plan says so."""
        self._polls.start(self, rank)


@define(eq=False, repr=False)
class Looks:
    """Every look of a session. No operation is ever asked for twice at the same time."""

    _transport: Transport
    _tokens: Tokens
    _pacing: Pacing
    _retry: RetryPolicy
    _snapshots: MutableMapping[OperationRef, Operation]
    _tally: Tally
    _hooks: Hooks
    _clock: Clock
    _random: Callable[[], float]
    _loop: asyncio.AbstractEventLoop
    _polls: dict[OperationRef, Look] = field(init=False, factory=dict)
    _dropped: "set[asyncio.Task[None]]" = field(init=False, factory=set)
    _refusal: ResponseError | None = field(init=False, default=None)
    _refusals: int = field(init=False, default=0)

    def want(self, ref: OperationRef, user: LookUser, due: float, rank: float) -> None:
        """Let `user` have a look at `due` or before; wanted again, the newer time counts.

        Of the looks that are due, those of lower rank go first when there is no budget for all.
        """
        look = self._polls.get(ref)
        if look is None:
            look = self._polls[ref] = Look(ref, self)
        look.users[user] = due, rank
        self._plan(look)
        if self._refusal is not None and self._pacing.pace.closed_until > self._clock.monotonic():
            user.put_off(self._pacing.pace.closed_until, self._refusal)

    def release(self, ref: OperationRef, user: LookUser) -> None:
        """Let `user` go; the last to go takes the look along, under way or not."""
        look = self._polls.get(ref)
        if look is None or look.users.pop(user, None) is None:
            return
        if look.users:
            self._plan(look)
        else:
            self._drop(look)

    def remember(self, operation: Operation) -> None:
        """Hold a snapshot from elsewhere, unless there is one; its tag goes along with the next look."""
        self._snapshots.setdefault(operation.ref, operation)

    async def aclose(self) -> None:
        """End every look with SessionClosedError."""
        for look in list(self._polls.values()):
            self._drop(look)
            self._tell(look, SessionClosedError("the session was closed", ref=look.ref))
        if self._dropped:
            await asyncio.wait(self._dropped)

    def _plan(self, look: Look) -> None:
        """Plan the next attempt for the earliest of its users, unless one is under way."""
        if look.is_under_way:
            return
        due, rank = look.times
        if look.plan is not None and (look.plan.due, look.plan.rank) == (due, rank):
            return
        if look.plan is not None:
            self._pacing.forget(look.plan)
        look.plan = self._pacing.plan(due, rank, look.start)

    def start(self, look: Look, rank: float) -> None:
        """Begin an attempt."""
        look.plan, look.is_under_way = None, True
        look.task = asyncio.Task(self._run(look, rank), loop=self._loop)  # never eager, whatever the task factory

    async def _run(self, look: Look, rank: float) -> None:
        """Make one attempt, and decide at once on what it gave."""
        look.has_begun = True
        outcome: Outcome | None = None
        try:
            outcome = await self._attempt(look.ref, rank)
        except COPIED as error:
            outcome = error
        except Exception as error:  # out of the caller's own snapshots or clock
            _LOGGER.exception("a look at %s ended in an unforeseen way", look.ref)
            outcome = error
        finally:
            self._pacing.finished()
            self._decide(look, outcome or asyncio.CancelledError())

    async def _attempt(self, ref: OperationRef, rank: float) -> Seen:
        """Look once; a 401 is worth one new token."""
        token = await self._tokens.get()
        try:
            return await self._ask(ref, rank, token)
        except AuthenticationError:
            renewed = await self._tokens.renew(token)
            if renewed == token:
                raise
        return await self._ask(ref, rank, renewed)

    async def _ask(self, ref: OperationRef, rank: float, token: str) -> Seen:
        """Ask for what changed; a 304 that refers to nothing held is worth one unconditional request."""
        held, answer = await self._exchange(ref, rank, token)
        try:
            return self._read(ref, held, answer)
        except MalformedResponseError:
            if answer.status != 304:
                raise
        return self._read(ref, *await self._exchange(ref, rank, token, is_unconditional=True))

    def _read(self, ref: OperationRef, held: Operation | None, answer: Answer) -> Seen:
        try:
            seen = read_answer(ref, held, answer)
        except NotFoundError:
            self._snapshots.pop(ref, None)
            raise
        self._keep(ref, seen)
        return seen

    def _keep(self, ref: OperationRef, seen: Seen) -> None:
        self._tally.not_modified += seen.is_not_modified
        if not seen.is_kept:
            self._snapshots.pop(ref, None)
        elif not seen.is_not_modified:
            self._snapshots[ref] = seen.operation

    async def _exchange(
        self, ref: OperationRef, rank: float, token: str, *, is_unconditional: bool = False
    ) -> tuple[Operation | None, Answer]:
        """Send one request in its turn; give the answer and the snapshot whose tag went along."""
        while True:
            sent = await self._pacing.slot(rank)
            self._tally.requests += 1
            self._tally.in_flight += 1
            try:
                held = None if is_unconditional else self._snapshots.get(ref)
                answer = hide(token, await self._transport.get(ref, request_headers(token, held)))
            except NotSentError:
                self._tally.requests -= 1
                continue
            finally:
                self._tally.in_flight -= 1
                self._pacing.ended()
            self._learn(ref, answer, sent)
            return held, answer

    def _learn(self, ref: OperationRef, answer: Answer, sent: float) -> None:
        """Close the gate after a refusal, for everybody; learn the rate from everything."""
        refusal = read_refusal(answer)
        if refusal is not None:
            refusal.ref = ref
            self._close_gate(ref, refusal, sent)
        elif answer.status < 500:
            self._refusals = 0
            self._pacing.accepted()

    def _close_gate(self, ref: OperationRef, refusal: ResponseError, sent: float) -> None:
        self._tally.throttled += 1
        self._refusals += 1
        now, pause = self._clock.monotonic(), refusal.retry_after
        if pause is None:
            pause = pause_before_repeat(self._retry, self._refusals, self._random())
        was_open = self._pacing.pace.closed_until <= now
        is_longer = self._pacing.pace.refused(now, sent, now + pause)
        self._hooks.tell(Throttled(ref, own_copy(refusal), self._pacing.pace.closed_until - now, was_open))
        if is_longer:
            self._refusal = refusal
            for look in list(self._polls.values()):
                self._put_off(look, now + pause, refusal)

    def _decide(self, look: Look, outcome: Outcome) -> None:
        """Tell the users, or plan the next attempt; a look that was dropped meanwhile concerns nobody."""
        look.is_under_way = look.has_begun = False
        if self._polls.get(look.ref) is not look:
            return
        again = self._repeat_at(look, outcome)
        if again is None:
            self._finish(look, outcome)
        elif look.users:
            look.not_before = again
            self._plan(look)

    def _repeat_at(self, look: Look, outcome: Outcome) -> float | None:
        """Say when to try again; None when the outcome is final. A 429 costs nothing: the gate makes it wait."""
        if isinstance(outcome, Seen):
            return None
        if isinstance(outcome, RateLimitedError):
            return look.not_before
        if not isinstance(outcome, SchedulesError) or not is_passing(outcome):
            return None
        look.faults += 1
        if look.faults >= self._retry.attempts:
            return None
        self._tally.retried += 1
        now = self._clock.monotonic()
        again = now + pause_before_repeat(self._retry, look.faults, self._random())
        if isinstance(outcome, ResponseError) and outcome.retry_after is not None:
            again = max(again, now + outcome.retry_after)
            self._put_off(look, again, outcome)
        if look.users:
            self._hooks.tell(Retried(look.ref, own_copy(outcome, look.ref), look.faults, again - now))
        return again

    def _finish(self, look: Look, outcome: Outcome) -> None:
        """Tell the users; hooks are told of the look before what comes of it, once its users want the next or none."""
        del self._polls[look.ref]
        if not self._hooks.is_anybody_listening:
            self._tell(look, outcome)
            return
        with self._hooks.held() as events:
            self._tell(look, outcome)
            events.insert(0, self._make_record(look.ref, outcome))

    def _make_record(self, ref: OperationRef, outcome: Outcome) -> Polled:
        following = self._polls.get(ref)
        pause = None if following is None else max(following.times[0] - self._clock.monotonic(), 0.0)
        if isinstance(outcome, Seen):
            return Polled(ref, outcome.operation, outcome.is_not_modified, pause)
        return Polled(ref, own_copy(outcome, ref) if isinstance(outcome, COPIED) else outcome, pause=pause)

    def _put_off(self, look: Look, until: float, refusal: ResponseError) -> None:
        """Let each user of a look decide whether to wait so long."""
        for user in list(look.users):
            user.put_off(until, refusal)

    def _drop(self, look: Look) -> None:
        del self._polls[look.ref]
        if look.plan is not None:
            self._pacing.forget(look.plan)
        if look.is_under_way and look.task is not None:
            look.task.cancel()
            self._dropped.add(look.task)
            look.task.add_done_callback(self._dropped.discard)
            if not look.has_begun:  # then it never will, and nobody else gives back its place
                self._pacing.finished()

    def _tell(self, look: Look, outcome: Outcome) -> None:
        for user in list(look.users):
            user.look_ended(own_copy(outcome, look.ref) if isinstance(outcome, COPIED) else outcome)


@define(eq=False, repr=False)
class Getter:
    """One call that waits for one look, and lets itself be refused for a bounded time in all."""

    _ref: OperationRef
    _clock: Clock
    _longest_refusal: float
    _future: "asyncio.Future[Outcome]" = field(init=False)
    _refused_since: float | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self._future = asyncio.get_running_loop().create_future()

    async def operation(self) -> Operation:
        """Wait for the snapshot, or raise what the look met."""
        outcome = await self._future
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome.operation

    def look_ended(self, outcome: Outcome) -> None:
        """Pass the outcome on."""
        if not self._future.done():
            self._future.set_result(outcome)

    def put_off(self, until: float, refusal: ResponseError) -> None:
        """Give up if that is longer than this call lets itself be refused, from the first refusal on."""
        if self._refused_since is None:
            self._refused_since = self._clock.monotonic()
        if until - self._refused_since > self._longest_refusal:
            self.look_ended(own_copy(refusal, self._ref))
