"""Gaps in aiohttp: unsolicited bytes, requests that it repeats on its own, and exceptions of trace configs."""

import asyncio
import types
from collections.abc import Callable, Iterator
from typing import Any, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from attrs import define, field

_USED = "schedules_async has used it"  # an attribute of connections that have carried a request of ours


class NotSentError(Exception):
    """The request was not sent: it was closed or cancelled while it waited for its token or its connection."""


class StaleConnectionError(Exception):
    """The server closed a kept-alive connection just as the request left; another connection may be used."""


class NotRepeatedError(Exception):
    """Wraps a fault after which aiohttp would repeat the request on its own, uncounted and through a closed gate."""

    def __init__(self, fault: Exception) -> None:
        super().__init__(str(fault))
        self.fault = fault


def make_request_class(may_leave: Callable[[], bool], *, is_connector_own: bool) -> type[aiohttp.ClientRequest]:
    """Return a request class that calls `may_leave` once it has a connection, for which it may have waited long."""

    class Request(aiohttp.ClientRequest):
        """A request that leaves only while the gate is open, over a connection without unsolicited bytes."""

        async def send(self, conn: Connection) -> aiohttp.ClientResponse:
            """Write the request; aiohttp takes another connection if this one holds unsolicited bytes."""
            if not may_leave():
                raise NotSentError
            protocol = cast("ResponseHandler", conn.protocol)
            if protocol.should_close:
                raise aiohttp.ServerDisconnectedError("an answer came unasked")
            if is_connector_own:
                transport = cast("asyncio.Transport", conn.transport)
                guard: Any = transport.get_protocol()
                if not isinstance(guard, _Guard):
                    guard = _Guard(transport, protocol)
                    transport.set_protocol(guard)
                guard.is_idle = False  # until the connection is released
                conn.add_callback(guard.rest)
            return await super().send(conn)

    return Request


class Response(aiohttp.ClientResponse):
    """A response that keeps aiohttp from repeating the request when the connection is lost."""

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        """Read the head of the answer."""
        protocol = cast("ResponseHandler", connection.protocol)
        is_kept_alive = vars(protocol).get(_USED, False)
        vars(protocol)[_USED] = True
        try:
            return await super().start(connection)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            # Where the connection was lost in the middle of an answer, the message is the beginning of that.
            if is_kept_alive and isinstance(getattr(error, "message", ""), str):
                raise StaleConnectionError from None
            raise NotRepeatedError(error) from None


@define(eq=False, repr=False)
class _Guard:
    """A protocol between a connection and aiohttp, which would buffer unsolicited bytes; these abort the connection."""

    _transport: asyncio.Transport
    _protocol: ResponseHandler
    is_idle: bool = field(init=False, default=False)

    def rest(self) -> None:
        """Mark the connection as idle, between two requests."""
        self.is_idle = True

    def data_received(self, data: bytes) -> None:
        if self.is_idle:
            self._transport.abort()
        else:
            self._protocol.data_received(data)

    def __getattr__(self, name: str) -> Any:
        """Return another method of the protocol, for whatever else happens to the connection."""
        return getattr(self._protocol, name)


def find_callers_error(fault: BaseException) -> BaseException | None:
    """Return the exception that a trace config of the caller's raised, None if none did; aiohttp wraps some.

    Trace configs are called by aiosignal, which is then among the frames.
    """
    return next((each for each in _chain(fault) if "aiosignal" in _packages(each)), None)


def keep_callers_frames(error: BaseException) -> None:
    """Remove the frames of aiohttp and of this library from a caller's exception and its chain: they hold the token.

    A fault of aiohttp's own, which may hold the request, is removed from the chain.
    """
    for part in _chain(error):
        for name in ("__cause__", "__context__"):
            packages = _packages(getattr(part, name))
            if packages[:1] == ["aiohttp"] and "aiosignal" not in packages:
                setattr(part, name, None)
        kept: types.TracebackType | None = None
        for each in reversed([*_walk(part)]):
            if _package(each) not in ("aiohttp", "aiosignal", "schedules_async"):
                kept = types.TracebackType(kept, each.tb_frame, each.tb_lasti, each.tb_lineno)
        part.__traceback__ = kept


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and all from which or during which it was raised, each once."""
    seen: list[int] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        part = waiting.pop()
        if part is not None and id(part) not in seen:
            seen.append(id(part))
            yield part
            waiting += (part.__context__, part.__cause__)


def _walk(error: BaseException | None) -> Iterator[types.TracebackType]:
    traceback = None if error is None else error.__traceback__
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next


def _package(traceback: types.TracebackType) -> str:
    name: str = traceback.tb_frame.f_globals.get("__name__", "")
    return name.partition(".")[0]


def _packages(error: BaseException | None) -> list[str]:
    """Return the package of each frame, the outermost first."""
    return [*map(_package, _walk(error))]
