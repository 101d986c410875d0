"""The session: the object that users hold; it connects the other parts and keeps the snapshots."""

import asyncio
import contextvars
import os
import random
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, MutableMapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, cast, overload

import aiohttp
from yarl import URL

from schedules_async._auth.environments import DEV, Environment
from schedules_async._auth.tokens import Auth, Tokens
from schedules_async._auth.variables import BASE_URL, read_auth
from schedules_async._clock import Clock, Seconds, Timers, to_clock
from schedules_async._hooks import Hooks
from schedules_async._http.retry import RetryPolicy
from schedules_async._http.transport import Transport
from schedules_async._http.urls import check_base_url
from schedules_async._operations.operation import Operation
from schedules_async._operations.ref import OperationRef, RefLike, as_ref, as_refs
from schedules_async._polling.fetcher import Fetcher
from schedules_async._polling.policy import PollingPolicy
from schedules_async._polling.poller import PollerPool, other_loop
from schedules_async._stats import SessionStats
from schedules_async._throttling.rate_limiter import COMMUNITY_TIER, RateLimit, RateLimiter
from schedules_async._throttling.request_queue import RequestQueue
from schedules_async._waiters.checkpoint import read_checkpoint
from schedules_async._waiters.single_fetch import SingleFetch
from schedules_async._waiters.wait_state import WaitOptions, WaitState, to_timeout
from schedules_async._waiters.waiter import GroupWaiter, OperationGroupWaiter, OperationWaiter
from schedules_async.errors import SchedulesError, SessionClosedError
from schedules_async.events import Hook

Value = TypeVar("Value")
_MOST_SNAPSHOTS = 10_000


class RecentSnapshots(OrderedDict[OperationRef, Operation]):
    """A cache of snapshots: the 10,000 most recently used, and as many more as operations are in use."""

    def __init__(self, count_in_use: Callable[[], int]) -> None:
        super().__init__()
        self._count_in_use = count_in_use

    def get(self, ref: OperationRef, default: Any = None) -> Any:
        """Return the snapshot of an operation, which is then the most recently used one, or the default."""
        if ref in self:
            self.move_to_end(ref)
        return super().get(ref, default)

    def __setitem__(self, ref: OperationRef, operation: Operation) -> None:
        super().__setitem__(ref, operation)
        self.move_to_end(ref)
        if len(self) > _MOST_SNAPSHOTS:
            while len(self) > _MOST_SNAPSHOTS + self._count_in_use():
                self.popitem(last=False)


class SchedulesSession:
    """Fetches operations and waits for them, with conditional requests that concurrent callers share.

    A session belongs to one event loop and one identity; use it with `async with`, or `await session.close()` at
    the end. `auth` is the bare token, a function that returns it (async or plain), or a TokenProvider. `base_url` (the
    dev API) may carry a port and a path prefix, or be an Environment. `polling` and `retry` decide when to poll and
    what to retry, `rate_limits` (the Community tier) are never exceeded; with `()` the rate is learned from 429s.
    `request_timeout` (30 s) bounds one attempt, from connecting to the last byte. `snapshots` stores what was fetched,
    for conditional requests (in memory, the 10,000 most recently used). `http` lends its connector, proxy,
    `trust_env` and trace configs, and is never closed. `clock` is for tests. `hooks` are called with events: see
    `schedules_async.events`. An argument of the wrong type or value raises a TypeError or ValueError that names it.

    >>> SchedulesSession("token")
    <SchedulesSession https://dev-api.bentley.com>
    >>> SchedulesSession("Bearer token")
    Traceback (most recent call last):
    ValueError: an unusable token: empty, or with a character outside 0x21-0x7E (pass it without 'Bearer ')
    """

    _pool: PollerPool | None = None  # from the first use on
    _is_closed = False

    def __init__(
        self,
        auth: Auth,
        *,
        base_url: str | URL | Environment = DEV,
        polling: PollingPolicy = PollingPolicy(),
        retry: RetryPolicy = RetryPolicy(),
        rate_limits: Sequence[RateLimit] = COMMUNITY_TIER,
        request_timeout: Seconds = 30.0,
        snapshots: MutableMapping[OperationRef, Operation] | None = None,
        http: aiohttp.ClientSession | None = None,
        clock: Clock | None = None,
        hooks: Iterable[Hook] = (),
    ) -> None:
        self._context = contextvars.copy_context()
        self._hooks = Hooks(hooks)
        self._tokens = Tokens(auth, self._hooks, self._context)
        self._base_url = check_base_url(base_url.api_url if isinstance(base_url, Environment) else base_url)
        self._polling = _expect(PollingPolicy, "polling", polling)
        self._retry = _expect(RetryPolicy, "retry", retry)
        self._clock = to_clock(clock)
        self._transport = Transport(self._base_url, request_timeout, http, self._may_leave)
        self._limiter = RateLimiter(rate_limits, self._transport.max_connections)
        self._snapshots = RecentSnapshots(self._count_in_use) if snapshots is None else _check_snapshots(snapshots)
        self._counts, self._random = Counter[str](), random.Random().random

    @classmethod
    def from_env(cls, **options: Any) -> Self:
        """Return a session for the token, or client credentials, and the service that environment variables name.

        The variables are those of the command: SCHEDULES_TOKEN, or SCHEDULES_CLIENT_ID and SCHEDULES_CLIENT_SECRET
        (and SCHEDULES_TOKEN_URL, unless the service is dev, QA or production), and SCHEDULES_BASE_URL (the dev API).
        `options` are the session's arguments, which override the variables; client credentials borrow `http` too. Raise
        ValueError if a variable is missing.
        """
        base_url = options.setdefault("base_url", os.environ.get(BASE_URL, "").strip() or DEV)
        if "auth" not in options:
            api_url = base_url.api_url if isinstance(base_url, Environment) else base_url
            options["auth"] = read_auth(api_url, options.get("http"))
        return cls(**options)

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
        """End everything pending with SessionClosedError, and release tasks, timers and connections.

        Raise ValueError on another event loop than the session's, unless the session's is closed.
        """
        pool = self._pool
        if pool is not None and not pool.is_on_its_loop():
            self._is_closed = True
            await self._transport.aclose()
            return
        self._is_closed = True
        steps = [self._tokens.aclose, self._transport.aclose]
        if pool is not None:
            steps = [pool.aclose, self._tokens.aclose, pool.timers.aclose, self._transport.aclose]
        failure: BaseException | None = None
        for step in steps:
            try:
                await step()
            except GeneratorExit:  # this coroutine was dropped; another call has to finish the work
                raise
            except BaseException as error:  # a cancellation too: the remaining steps are still taken
                failure = error
        self._hooks.deliver()
        if failure is not None:
            raise failure

    @property
    def stats(self) -> SessionStats:
        """The session's counts so far."""
        if self._pool is None:
            return SessionStats()
        return SessionStats(
            requests=self._counts["requests"],
            not_modified=self._counts["not_modified"],
            throttled=self._counts["throttled"],
            retried=self._counts["retried"],
            updates=self._counts["updates"],
            detection_delay=self._pool.delay,
            in_flight=self._counts["in_flight"],
            closed_for=max(self._limiter.closed_until - self._pool.timers.now(), 0.0),
            learned_from=self._pool.experience.count,
        )

    @property
    def in_flight(self) -> int:
        """The number of requests that await their answer now."""
        return self._counts["in_flight"]

    async def get_operation(self, schedule_id: RefLike, operation_id: str | None = None) -> Operation:
        """Fetch one operation from the service, never from memory; if unchanged, return the same object as before.

        A single argument may be an OperationRef, a pair of ids, a URL, or the text `schedule_id/operation_id`.
        Overlapping calls for one operation share one request. Raise AuthenticationError, PermissionDeniedError,
        NotFoundError, RateLimitedError (throttled for longer than `RetryPolicy.max_retry_after` in all), ServerError,
        TransportError, MalformedResponseError or SessionClosedError, and ValueError for invalid ids.
        """
        ref = _to_ref(schedule_id, operation_id)
        pool = self._enter(ref)
        fetch = SingleFetch(max_retry_after=self._retry.max_retry_after)
        poller = pool.join(ref, fetch)
        try:
            return await fetch.result()
        except GeneratorExit:  # perhaps closed by the garbage collector, at any moment
            pool.call_soon(poller.leave, fetch)
            raise
        except BaseException:
            poller.leave(fetch)
            raise
        finally:
            del fetch  # it holds the exception, whose traceback holds this frame

    def wait_for_operation(
        self,
        schedule_id: RefLike,
        operation_id: str | None = None,
        *,
        timeout: Seconds | None = None,
        stall_timeout: Seconds | None = None,
        check: bool = True,
        polling: PollingPolicy | None = None,
    ) -> OperationWaiter:
        """Return a waiter for the end of one operation, to be awaited or iterated over; nothing is sent yet.

        A single argument may be an OperationRef, a pair of ids, a URL, or the text `schedule_id/operation_id`.
        `timeout` bounds the whole wait from its first use (OperationTimeoutError), `stall_timeout` the time without a
        change (OperationStalledError), both in seconds; None is no limit. If the operation is Failed, it raises
        OperationFailedError, unless `check` is False. A 429 pauses it, and raises RateLimitedError only if its
        Retry-After exceeds `PollingPolicy.max_retry_after`. All waits of a session for one operation share one polling
        loop. `polling` defaults to the session's.
        """
        ref = _to_ref(schedule_id, operation_id)
        options = self._make_options(timeout, stall_timeout, polling, check=check)
        return OperationWaiter(WaitState((ref,), options, self._enter, {}))

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
        """Return a waiter for the end of many operations, to be awaited or iterated over; nothing is sent yet.

        `refs` are OperationRefs, pairs of ids, or URLs of operations; duplicates cause no further requests.
        Awaited, it returns the final snapshots in the order asked. The failure of one operation affects no other:
        once all have ended, an OperationGroupError holds the errors; if `check` is False, the list does instead.
        `timeout` bounds the whole wait from its first use, `stall_timeout` the time without a change of each
        operation, both in seconds; None is no limit. They end only the operations that exceed them.
        """
        options = self._make_options(timeout, stall_timeout, polling, check=check)
        waiter = OperationGroupWaiter(WaitState(as_refs(refs), options, self._enter, {}))
        return waiter if check else cast("GroupWaiter[Operation | SchedulesError]", waiter)

    def resume(
        self, checkpoint: str, *, polling: PollingPolicy | None = None
    ) -> OperationWaiter | GroupWaiter[Operation | SchedulesError]:
        """Return a waiter that resumes the wait of a checkpoint, of this process or another; nothing is sent yet.

        Its snapshots count as `latest`, and the first requests carry their tags. An operation that had ended is not
        fetched again; one that was lost is. Raise ValueError for text that is foreign, damaged or too new.
        """
        saved = read_checkpoint(checkpoint)
        options = self._make_options(saved.timeout, saved.stall_timeout, polling, check=saved.check)
        state = WaitState(saved.refs, options, self._enter, saved.saved)
        if saved.is_group:
            return cast("GroupWaiter[Operation | SchedulesError]", OperationGroupWaiter(state))
        return OperationWaiter(state)

    def _make_options(
        self, timeout: Seconds | None, stall_timeout: Seconds | None, polling: PollingPolicy | None, *, check: bool
    ) -> WaitOptions:
        return WaitOptions(
            timeout=to_timeout("timeout", timeout),
            stall_timeout=to_timeout("stall_timeout", stall_timeout),
            check=check,
            polling=self._polling if polling is None else _expect(PollingPolicy, "polling", polling),
        )

    def _count_in_use(self) -> int:
        return 0 if self._pool is None else len(self._pool.pollers)

    def _may_leave(self) -> bool:
        return self._pool is not None and self._limiter.closed_until <= self._pool.timers.now()

    def _enter(self, ref: OperationRef | None = None) -> PollerPool:
        """Return the session's pollers, created at the first use."""
        if self._is_closed:
            raise SessionClosedError("the session is closed", ref=ref)
        loop = asyncio.get_running_loop()
        if self._pool is None:
            self._pool = self._start(loop)
        if self._pool.loop is not loop:
            raise other_loop()
        return self._pool

    def _start(self, loop: asyncio.AbstractEventLoop) -> PollerPool:
        timers = Timers(self._clock, loop, self._context)
        queue = RequestQueue(self._limiter, timers)
        shared = (self._retry, self._counts, self._hooks, self._random)
        fetcher = Fetcher(self._transport, self._tokens, queue, self._snapshots, *shared)
        return PollerPool(fetcher, queue, timers, *shared, loop, self._context)


def _to_ref(schedule_id: RefLike, operation_id: str | None) -> OperationRef:
    if operation_id is None:
        return as_ref(schedule_id)
    return OperationRef(_expect(str, "schedule_id", schedule_id), operation_id)


def _expect(kind: type[Value], name: str, value: object) -> Value:
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be a {kind.__name__}, not {type(value).__name__}")
    return value


def _check_snapshots(value: MutableMapping[OperationRef, Operation]) -> MutableMapping[OperationRef, Operation]:
    methods = (getattr(value, name, None) for name in ("get", "setdefault", "pop", "__setitem__"))
    if isinstance(value, type) or not all(map(callable, methods)):
        raise TypeError(f"snapshots must be a MutableMapping, not {type(value).__name__}")
    return value
