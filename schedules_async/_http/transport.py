"""One GET to the API: one complete answer, or a TransportError."""

import asyncio
import math
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, cast

import aiohttp
from attrs import define, field
from attrs.validators import gt
from yarl import URL

from schedules_async._clock import to_seconds
from schedules_async._http.aiohttp_gaps import (
    NotRepeatedError,
    NotSentError,
    Response,
    StaleConnectionError,
    find_callers_error,
    keep_callers_frames,
    make_request_class,
)
from schedules_async._http.body import read_whole, to_transport_error
from schedules_async._http.borrowed import Proxy, check_borrowed, find_proxy, open_client
from schedules_async._http.responses import COMMON_HEADERS, Answer, BearerToken, redact, request_headers
from schedules_async._operations.ref import OperationRef

MAX_CONNECTIONS = 100
_KEEPALIVE = 60.0  # seconds; longer than the usual interval between two polls, so that they share a connection


@define(eq=False, repr=False)
class Transport:
    """Sends GET requests to one API and reads the answers, each within `request_timeout` seconds.

    Of a borrowed aiohttp session it uses the connector, the proxy, the trace configs and the proxies that `trust_env`
    allows; never its cookies, headers, auth or middlewares. `may_leave` says whether a request may still be sent once
    it has its connection.
    """

    _base_url: str
    request_timeout: float = field(converter=to_seconds, validator=gt(0))
    _borrowed: aiohttp.ClientSession | None = field(converter=check_borrowed)
    _may_leave: Callable[[], bool]
    _http: aiohttp.ClientSession | None = field(init=False, default=None)
    _proxy: Proxy | None = field(init=False, default=None)
    _is_closed: bool = field(init=False, default=False)
    _timeouts: "dict[asyncio.Task[Any], asyncio.Timeout]" = field(init=False, factory=dict)

    @property
    def max_connections(self) -> float:
        """The number of requests that can have a connection at the same time."""
        connector = self._borrowed.connector if self._borrowed is not None else None
        if connector is None:
            return MAX_CONNECTIONS
        return min(MAX_CONNECTIONS, connector.limit or math.inf, connector.limit_per_host or math.inf)

    async def get(self, ref: OperationRef, token: BearerToken, tag: str | None) -> Answer:
        """Send one request, conditional if it has a tag; raise TransportError if no complete answer came in time.

        Raise NotSentError if the request may no longer leave once it has a connection, or is cancelled while it waits
        for a free one, and StaleConnectionError if the kept-alive connection was closed before any byte of an answer.
        An exception of a caller's trace config is raised unchanged.
        """
        outcome = await self._send(ref, token, tag)
        if isinstance(outcome, Answer):
            return outcome
        if isinstance(outcome, NotSentError | StaleConnectionError | asyncio.CancelledError):
            raise outcome
        if (error := find_callers_error(outcome)) is not None:
            keep_callers_frames(error)
            raise error
        is_lost = self._http is None or (self._borrowed is not None and self._borrowed.closed)
        raise to_transport_error(outcome, URL(self._base_url), self._proxy, ref, is_transient=not is_lost)

    async def _send(self, ref: OperationRef, token: BearerToken, tag: str | None) -> Answer | BaseException:
        """Return the answer or an exception, to be raised without the frames of aiohttp that hold the token."""
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        url, headers = _to_url(self._base_url, ref), request_headers(token.text, tag)
        timeout = self._timeouts[task] = asyncio.timeout(self.request_timeout)
        try:
            async with timeout:
                response = await (self._http or self._open()).get(url, headers=headers, allow_redirects=False)
                return redact(token.text, await read_whole(response, self._proxy))
        except NotRepeatedError as error:
            return error.fault
        except asyncio.CancelledError as error:
            if task.cancelling():
                return NotSentError() if timeout.when() is None else error  # None: it has no connection yet
            return ConnectionAbortedError("the connection was closed while the request was under way")
        except Exception as error:
            if timeout.expired():
                return TimeoutError(f"no complete answer within {self.request_timeout:g} s")
            return error
        finally:
            del self._timeouts[task]

    def _open(self) -> aiohttp.ClientSession:
        if self._is_closed:  # while this request waited for the caller's own code
            raise NotSentError
        borrowed = self._borrowed
        self._proxy = find_proxy(borrowed, URL(self._base_url))
        trace_configs = self._trace_queueing(borrowed.trace_configs) if borrowed else None
        self._http = open_client(
            borrowed,
            self._proxy,
            {"limit": MAX_CONNECTIONS, "keepalive_timeout": _KEEPALIVE},
            trace_configs=trace_configs,
            headers=COMMON_HEADERS,
            request_class=make_request_class(self._may_leave, is_connector_own=borrowed is None),
            response_class=Response,
        )
        if trace_configs is not None:
            self._http.trace_configs[:] = trace_configs  # without those that an instrumented aiohttp has added again
        return self._http

    def _trace_queueing(self, callers: Iterable[aiohttp.TraceConfig]) -> list[aiohttp.TraceConfig]:
        """Return trace configs that stop the timeout of a request while it waits for a free connection.

        They enclose the caller's, for which the timeout runs.
        """

        async def pause(*_: object) -> None:
            self._find_timeout().reschedule(None)

        async def resume(*_: object) -> None:
            self._find_timeout().reschedule(asyncio.get_running_loop().time() + self.request_timeout)

        first, last = aiohttp.TraceConfig(), aiohttp.TraceConfig()
        first.on_connection_queued_end.append(resume)
        last.on_connection_queued_start.append(pause)
        return [first, *callers, last]

    def _find_timeout(self) -> asyncio.Timeout:
        return self._timeouts[cast("asyncio.Task[Any]", asyncio.current_task())]

    async def aclose(self) -> None:
        """Close what was opened here; a borrowed session's connector stays open."""
        http, self._http, self._is_closed = self._http, None, True
        if http is not None:
            await http.close()


@lru_cache(maxsize=1024)
def _to_url(base_url: str, ref: OperationRef) -> URL:
    return URL(base_url + ref.path, encoded=True)
