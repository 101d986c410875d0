"""The session: where requests, pacing and repeating meet, and what users hold."""

import asyncio
import math
import random
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping, Sequence
from types import TracebackType
from typing import Literal, Self, TypeVar, cast, overload

import aiohttp
from attrs import define, field, frozen
from yarl import URL

from schedules_async._auth.environments import DEV
from schedules_async._auth.tokens import TokenProvider, Tokens, as_token_provider
from schedules_async._clock import Clock, Seconds, SystemClock, Timers, to_seconds
from schedules_async._hooks import Hooks
from schedules_async._http.retry import RetryPolicy
from schedules_async._http.transport import Transport
from schedules_async._http.urls import check_base_url
from schedules_async._operations.operation import Operation
from schedules_async._operations.ref import OperationRef, RefLike, as_refs
from schedules_async._polling.fetcher import Getter, Looks
from schedules_async._polling.policy import PollingPolicy
from schedules_async._polling.poller import Watches
from schedules_async._stats import SessionStats, Tally
from schedules_async._throttling.rate_limiter import COMMUNITY_TIER, Pace, Pacing, RateLimit
from schedules_async._waiters.checkpoint import read_checkpoint
from schedules_async._waiters.wait_state import Surroundings, Wait, WaitOptions, to_timeout
from schedules_async._waiters.waiter import GroupWaiter, OperationGroupWaiter, OperationWaiter
from schedules_async.errors import SchedulesError, SessionClosedError
from schedules_async.events import Hook

Value = TypeVar("Value")
_MOST_SNAPSHOTS = 10_000


@define(eq=False, repr=False)
class RecentSnapshots(MutableMapping[OperationRef, Operation]):
    """Snapshots in memory; of more than 10,000, beside those that are watched, the least recently used goes."""

    _count_watched: Callable[[], int]
    _snapshots: OrderedDict[OperationRef, Operation] = field(init=False, factory=OrderedDict)

    def __getitem__(self, ref: OperationRef) -> Operation:
        operation = self._snapshots[ref]
        self._snapshots.move_to_end(ref)
        return operation

    def __setitem__(self, ref: OperationRef, operation: Operation) -> None:
        self._snapshots[ref] = operation
        self._snapshots.move_to_end(ref)
        while len(self._snapshots) > _MOST_SNAPSHOTS + self._count_watched():
            self._snapshots.popitem(last=False)

    def __delitem__(self, ref: OperationRef) -> None:
        del self._snapshots[ref]

    def __iter__(self) -> Iterator[OperationRef]:
        return iter(self._snapshots)

    def __len__(self) -> int:
        return len(self._snapshots)


@frozen(eq=False)
class _Engine:
    """What runs once the session is in use, on its event loop."""

    loop: asyncio.AbstractEventLoop
    polls: Looks
    surroundings: Surroundings

    async def aclose(self) -> None:
        try:
            await self.polls.aclose()
        finally:
            await self.surroundings.timers.aclose()


class SchedulesSession:
    """Fetches operations and waits for them, conditionally, within the quota, one request for all who ask.

    A session belongs to one event loop and one identity; use it with `async with`, or `await session.close()` in
    the end. `auth` is the bare token, an async function that gives it, or a TokenProvider. `base_url` (the dev
    API) may carry a port and a path prefix. `polling` and `retry` say when to look and what to repeat,
    `rate_limits` (the Community tier) what is never exceeded; `()` learns the rate from 429 alone.
    `request_timeout` (30 s) bounds one attempt, from connecting to the last byte. `snapshots` holds what was seen
    (in memory, the 10,000 most recently used), for conditional requests. `http` lends its connector, `trust_env`
    and trace configs, and is never closed. `clock` is for tests. `hooks` are told what happens: see
    `schedules_async.events`.

    >>> SchedulesSession("token")
    <SchedulesSession https://dev-api.bentley.com>
    >>> SchedulesSession("Bearer token")
    Traceback (most recent call last):
    ValueError: an unusable token: empty, or with a character outside 0x21-0x7E (give it without 'Bearer ')
    """

    def __init__(
        self,
        auth: str | Callable[[], Awaitable[str]] | TokenProvider,
        *,
        base_url: str | URL = DEV.api_url,
        polling: PollingPolicy = PollingPolicy(),
        retry: RetryPolicy = RetryPolicy(),
        rate_limits: Sequence[RateLimit] = COMMUNITY_TIER,
        request_timeout: Seconds = 30.0,
        snapshots: MutableMapping[OperationRef, Operation] | None = None,
        http: aiohttp.ClientSession | None = None,
        clock: Clock | None = None,
        hooks: Sequence[Hook] = (),
    ) -> None:
        """See what can be wrong with the arguments now: ValueError and TypeError name what is."""
        self._hooks = Hooks(hooks)
        self._tokens = Tokens(as_token_provider(auth), self._hooks)
        self._base_url = check_base_url(base_url)
        self._polling = _expect(PollingPolicy, "polling", polling)
        self._retry = _expect(RetryPolicy, "retry", retry)
        self._pace = Pace([_expect(RateLimit, "each of rate_limits", limit) for limit in rate_limits])
        self._clock = SystemClock() if clock is None else clock
        self._transport = Transport(
            self._base_url, _check_request_timeout(request_timeout), _check_http(http), self._is_gate_open
        )
        self._snapshots = RecentSnapshots(self._count_watched) if snapshots is None else snapshots
        self._tally = Tally()
        self._engine: _Engine | None = None
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._base_url}{' closed' if self._is_closed else ''}>"

    def __reduce__(self) -> str:
        raise TypeError("a session holds a token and connections: it cannot be pickled or copied")

    async def __aenter__(self) -> Self:
        self._enter()
        return self

    async def __aexit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End everything pending with SessionClosedError, and let go of tasks, timers and connections."""
        self._is_closed = True
        try:
            if self._engine is not None:
                await self._engine.aclose()
        finally:
            await self._transport.aclose()

    @property
    def stats(self) -> SessionStats:
        """The session's counts so far."""
        return self._tally.stats(max(self._pace.closed_until - self._clock.monotonic(), 0.0))

    async def get_operation(self, schedule_id: str, operation_id: str) -> Operation:
        """Look at the service once, always; what has not changed since the held snapshot gives that very object.

        Calls for one operation that overlap share one request. Raises AuthenticationError, PermissionDeniedError,
        NotFoundError, RateLimitedError (refused for longer than `RetryPolicy.max_retry_after` in all), ServerError,
        TransportError, MalformedResponseError or SessionClosedError, and ValueError for ids that name nothing.
        """
        ref = OperationRef(schedule_id, operation_id)
        engine = self._enter(ref)
        getter = Getter(ref, self._clock, self._retry.max_retry_after)
        now = self._clock.monotonic()
        engine.polls.want(ref, getter, now, now)
        try:
            return await getter.operation()
        finally:
            engine.polls.release(ref, getter)

    def wait_for_operation(
        self,
        schedule_id: str,
        operation_id: str,
        *,
        timeout: Seconds | None = None,
        stall_timeout: Seconds | None = None,
        check: bool = True,
        polling: PollingPolicy | None = None,
    ) -> OperationWaiter:
        """Make a wait for the end of one operation, to be awaited or iterated over; nothing is sent yet.

        `timeout` (seconds, None for none) bounds the whole wait from its first use: OperationTimeoutError.
        `stall_timeout` bounds the time without a change: OperationStalledError. A Failed operation raises
        OperationFailedError, unless `check` is False. All waits of a session for one operation share one
        polling loop; `polling` is the session's unless given.
        """
        ref = OperationRef(schedule_id, operation_id)
        options = self._make_options(timeout, stall_timeout, polling, check=check)
        return OperationWaiter(Wait((ref,), options, self._lend, {}))

    @overload
    def wait_for_operations(
        self,
        refs: Iterable[RefLike],
        *,
        timeout: Seconds | None = None,
        stall_timeout: Seconds | None = None,
        check: Literal[True] = True,
        polling: PollingPolicy | None = None,
    ) -> OperationGroupWaiter: ...

    @overload
    def wait_for_operations(
        self,
        refs: Iterable[RefLike],
        *,
        timeout: Seconds | None = None,
        stall_timeout: Seconds | None = None,
        check: bool,
        polling: PollingPolicy | None = None,
    ) -> GroupWaiter[Operation | SchedulesError]: ...

    def wait_for_operations(
        self,
        refs: Iterable[RefLike],
        *,
        timeout: Seconds | None = None,
        stall_timeout: Seconds | None = None,
        check: bool = True,
        polling: PollingPolicy | None = None,
    ) -> OperationGroupWaiter | GroupWaiter[Operation | SchedulesError]:
        """Make a wait for the end of many operations, to be awaited or iterated over; nothing is sent yet.

        `refs` are OperationRefs, pairs of ids, or URLs of operations; one that comes twice costs nothing more.
        Awaited, it gives the final snapshots in the order asked. What becomes of one operation disturbs no other:
        those that did not succeed make one OperationGroupError in the end, or stand in the list if `check` is False.
        `timeout` (seconds, None for none) bounds the whole wait from its first use, `stall_timeout` the time without
        a change of each operation; both lose the operations concerned, and none that has ended.
        """
        options = self._make_options(timeout, stall_timeout, polling, check=check)
        waiter = OperationGroupWaiter(Wait(as_refs(refs), options, self._lend, {}))
        return waiter if check else cast("GroupWaiter[Operation | SchedulesError]", waiter)

    def resume(
        self, checkpoint: str, *, polling: PollingPolicy | None = None
    ) -> OperationWaiter | OperationGroupWaiter:
        """Make the wait that a waiter's `checkpoint()` wrote down, in this process or another; nothing is sent yet.

        Its snapshots count as `latest`, and their tags go along with the first requests. An operation that had ended
        is not asked for again; one that was lost is. ValueError for foreign, damaged or newer text.
        """
        saved = read_checkpoint(checkpoint)
        options = self._make_options(saved.timeout, saved.stall_timeout, polling, check=saved.check)
        wait = Wait(saved.refs, options, self._lend, saved.seen)
        return OperationGroupWaiter(wait) if saved.is_group else OperationWaiter(wait)

    def _make_options(
        self, timeout: Seconds | None, stall_timeout: Seconds | None, polling: PollingPolicy | None, *, check: bool
    ) -> WaitOptions:
        return WaitOptions(
            timeout=to_timeout("timeout", timeout),
            stall_timeout=to_timeout("stall_timeout", stall_timeout),
            check=check,
            polling=self._polling if polling is None else _expect(PollingPolicy, "polling", polling),
        )

    def _lend(self, ref: OperationRef | None) -> Surroundings:
        return self._enter(ref).surroundings

    def _count_watched(self) -> int:
        return 0 if self._engine is None else len(self._engine.surroundings.watches)

    def _is_gate_open(self) -> bool:
        return self._pace.closed_until <= self._clock.monotonic()

    def _enter(self, ref: OperationRef | None = None) -> _Engine:
        """Give the running engine, started at first use."""
        if self._is_closed:
            raise SessionClosedError("the session is closed", ref=ref)
        loop = asyncio.get_running_loop()
        if self._engine is None:
            self._engine = self._start(loop)
        if self._engine.loop is not loop:
            raise ValueError("a session belongs to one event loop, and this is another")
        return self._engine

    def _start(self, loop: asyncio.AbstractEventLoop) -> _Engine:
        timers = Timers(self._clock, loop)
        sample = random.Random().random
        pacing = Pacing(self._pace, self._clock, timers)
        polls = Looks(
            transport=self._transport,
            tokens=self._tokens,
            pacing=pacing,
            retry=self._retry,
            snapshots=self._snapshots,
            tally=self._tally,
            hooks=self._hooks,
            clock=self._clock,
            random=sample,
            loop=loop,
        )
        watches = Watches(polls, pacing, self._tally, self._clock, sample, self._hooks)
        return _Engine(loop, polls, Surroundings(watches, timers, self._clock, self._hooks))


def _expect(kind: type[Value], name: str, value: Value) -> Value:
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be a {kind.__name__}, not {type(value).__name__}")
    return value


def _check_request_timeout(value: Seconds) -> float:
    seconds = to_seconds(value)
    if math.isnan(seconds) or seconds <= 0:
        raise ValueError(f"request_timeout must be positive, and is {seconds}")
    return seconds


def _check_http(http: aiohttp.ClientSession | None) -> aiohttp.ClientSession | None:
    if http is not None and _expect(aiohttp.ClientSession, "http", http).closed:
        raise ValueError("the borrowed http session is closed")
    return http
