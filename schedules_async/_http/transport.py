"""The door to the API: one request out, one complete answer back, or a TransportError."""

import asyncio
import math
import urllib.request
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from typing import Any, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from attrs import define, field
from yarl import URL

from schedules_async._http.body import FAULTS, read_whole, to_transport_error
from schedules_async._http.responses import SAME_FOR_ALL, Answer
from schedules_async._http.urls import is_loopback
from schedules_async._operations.ref import OperationRef

MAX_REQUESTS_IN_FLIGHT = 100
_KEEPALIVE = 60.0  # seconds; longer than the usual pause between two polls, so that they share a connection


@define(eq=False, repr=False)
class Transport:
    """Sends GET requests to one API and reads the answers, each attempt within `request_timeout` seconds.

    Of a borrowed aiohttp session it uses the connector, the trace configs and the proxies that `trust_env`
    allows; never its cookies, headers, auth or middlewares.
    """

    _base_url: str
    _request_timeout: float
    _borrowed: aiohttp.ClientSession | None
    _may_leave: Callable[[], bool]
    _http: aiohttp.ClientSession | None = field(init=False, default=None)
    _deadlines: "_Deadlines" = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._deadlines = _Deadlines(self._request_timeout)

    async def get(self, ref: OperationRef, headers: dict[str, str]) -> Answer:
        """Ask for one operation; TransportError when no complete answer came in time.

        NotSentError tells that the gate closed while the request waited for a connection.
        """
        attempt = self._deadlines.begin()
        fault: BaseException
        try:
            http = self._http or self._open()
            response = await http.get(_to_url(self._base_url + ref.path), headers=headers, allow_redirects=False)
            return await read_whole(response)
        except FAULTS as error:
            fault = error
        except _NotRepeatedError as error:
            fault = error.fault
        except asyncio.CancelledError:
            if not attempt.is_overdue:
                raise
            fault = TimeoutError(f"no complete answer within {self._request_timeout:g} s")
        finally:
            attempt.task = None
        raise to_transport_error(fault, ref)

    def _open(self) -> aiohttp.ClientSession:
        borrowed = self._borrowed
        if borrowed is not None and borrowed.closed:
            raise RuntimeError("the borrowed http session is closed")
        self._http = aiohttp.ClientSession(
            connector=borrowed.connector if borrowed else _new_connector(),
            connector_owner=borrowed is None,
            trace_configs=borrowed.trace_configs if borrowed else None,
            proxy=_find_proxy(self._base_url) if borrowed and borrowed.trust_env else None,
            headers=SAME_FOR_ALL,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(),
            request_class=_make_request_class(self._may_leave, is_connector_own=borrowed is None),
            response_class=_Response,
            auto_decompress=False,
        )
        return self._http

    async def aclose(self) -> None:
        """Close what was opened here; a borrowed session's connector stays open."""
        self._deadlines.stop()
        http, self._http = self._http, None
        if http is not None:
            await http.close()


class _NotRepeatedError(Exception):
    """Hides a fault from aiohttp, which would repeat the request by itself: uncounted, and past the gate."""

    def __init__(self, fault: Exception) -> None:
        super().__init__(str(fault))
        self.fault = fault


class NotSentError(Exception):
    """The request was not sent: it may not leave any more."""


def _make_request_class(may_leave: Callable[[], bool], *, is_connector_own: bool) -> type[aiohttp.ClientRequest]:
    class Request(aiohttp.ClientRequest):
        """Asks once more when it has its connection, which may have taken long to come."""

        async def send(self, conn: Connection) -> aiohttp.ClientResponse:
            """Write the request; aiohttp takes another connection where this one holds what nobody asked for."""
            if not may_leave():
                raise NotSentError
            protocol = cast("ResponseHandler", conn.protocol)
            if protocol.should_close:
                raise aiohttp.ServerDisconnectedError("an answer came unasked")
            if is_connector_own:
                _watch_while_idle(conn, protocol)
            return await super().send(conn)

    return Request


class _Response(aiohttp.ClientResponse):
    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        """Read the head of the answer."""
        try:
            return await super().start(connection)
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            raise _NotRepeatedError(error) from None


@define(eq=False, repr=False)
class _IdleConnection(asyncio.Protocol):
    """Cuts a kept connection as soon as something comes unasked: aiohttp would hold all of it, without a bound."""

    _transport: asyncio.Transport
    _protocol: ResponseHandler

    def begin(self) -> None:
        """Stand in for aiohttp while nothing is asked."""
        self._transport.set_protocol(self)

    def data_received(self, _: bytes) -> None:
        self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._protocol.connection_lost(error)


def _watch_while_idle(conn: Connection, protocol: ResponseHandler) -> None:
    """Let the connection's bytes go to aiohttp until it is released."""
    transport = cast("asyncio.Transport", conn.transport)
    idle = transport.get_protocol()
    if isinstance(idle, _IdleConnection):
        transport.set_protocol(protocol)
    else:
        idle = _IdleConnection(transport, protocol)
    conn.add_callback(idle.begin)


def _new_connector() -> aiohttp.TCPConnector:
    return aiohttp.TCPConnector(limit=MAX_REQUESTS_IN_FLIGHT, keepalive_timeout=_KEEPALIVE)


@lru_cache(maxsize=1024)
def _to_url(text: str) -> URL:
    return URL(text, encoded=True)


def _find_proxy(url: str) -> str | None:
    """Find the environment's proxy; aiohttp's own `trust_env` would let ~/.netrc stand in for the token.

    Plain http is for this machine: another one's proxy would see the token, and reach itself.
    """
    scheme, host = url.partition(":")[0], URL(url).host or ""
    proxy = None if urllib.request.proxy_bypass(host) else urllib.request.getproxies().get(scheme)
    is_usable = proxy is not None and (scheme == "https" or is_loopback(URL(proxy).host or ""))
    return proxy if is_usable else None


@define(eq=False, repr=False)
class _Attempt:
    """One request under way; `task` is None once it is through."""

    task: "asyncio.Task[Any] | None"
    deadline: float
    is_overdue: bool = False


@define(eq=False, repr=False)
class _Deadlines:
    """Cancels attempts at their deadline. All have the same time, so the oldest is first, and one timer serves all.

    (A timeout of asyncio or aiohttp for each costs a tenth of a whole request: tests/benchmarks/look_cost.py.)
    """

    _seconds: float
    _attempts: deque[_Attempt] = field(init=False, factory=deque)
    _timer: asyncio.TimerHandle | None = field(init=False, default=None)

    def begin(self) -> _Attempt:
        """Count the running task's attempt from now."""
        loop = asyncio.get_running_loop()
        attempt = _Attempt(asyncio.current_task(), loop.time() + self._seconds)
        while self._attempts and self._attempts[0].task is None:
            self._attempts.popleft()
        self._attempts.append(attempt)
        if self._timer is None and self._seconds < math.inf:
            self._timer = loop.call_at(attempt.deadline, self._cancel_overdue)
        return attempt

    def _cancel_overdue(self) -> None:
        loop = asyncio.get_running_loop()
        while self._attempts and (self._attempts[0].task is None or self._attempts[0].deadline <= loop.time()):
            attempt = self._attempts.popleft()
            if attempt.task is not None:
                attempt.is_overdue = True
                attempt.task.cancel()
        is_one_left = bool(self._attempts)
        self._timer = loop.call_at(self._attempts[0].deadline, self._cancel_overdue) if is_one_left else None

    def stop(self) -> None:
        """Forget the timer."""
        if self._timer is not None:
            self._timer.cancel()
