"""The socket side of the fake server: requests in, answers out, and everything gone on closing."""

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime
from email.utils import format_datetime
from typing import cast

from aiohttp import web
from attrs import define, field, setters
from multidict import CIMultiDict, CIMultiDictProxy

from schedules_async._clock import Clock
from schedules_async._operations.ref import OperationRef
from schedules_async.testing.answers import MEDIA_TYPE, OPERATION_ID, Answer, Delivery

_BACKLOG = 1024  # connections at once: a full queue would cost a client real seconds
_LINGER_ZERO = struct.pack("ii", 1, 0)  # closing sends a reset
_ACCEPTING_TICKS = 3  # turns of the loop until an accepted connection has come up
_EMPTY_BODY_STATUSES = (204, 304)


@define(eq=False, on_setattr=setters.frozen)
class ReceivedRequest:
    """One request as it came in.

    `ref` is None for a path that names no operation; `time` is the server's clock on arrival, in seconds;
    `path` is raw, query included; names in `headers` are found in any case. `status` is what was answered,
    None where no HTTP answer was given, or not yet.
    """

    ref: OperationRef | None
    time: float
    method: str
    path: str
    headers: CIMultiDictProxy[str]
    status: int | None = field(default=None, init=False, on_setattr=setters.NO_OP)

    @property
    def if_none_match(self) -> str | None:
        """Give the condition as it was sent, several fields joined; None without one."""
        return ", ".join(self.headers.getall("If-None-Match", ())) or None


@define(eq=False)
class Listener:
    """Accepts connections, asks `decide` for the answer to each request, and puts it on the wire."""

    _clock: Clock
    _decide: Callable[[web.BaseRequest], tuple[ReceivedRequest, Answer]]
    _to_date: Callable[[float], datetime]
    _server: asyncio.Server | None = field(init=False, default=None)
    _web: web.Server | None = field(init=False, default=None)
    _working: int = field(init=False, default=0)
    resting: int = field(init=False, default=0)  # requests that wait for the clock, or for ever

    @property
    def is_busy(self) -> bool:
        """Tell whether a request is being worked on; one that waits for the clock is not."""
        return self._working > 0

    @property
    def open_connections(self) -> int:
        """Count the connections."""
        return len(self._web.connections) if self._web is not None else 0

    @property
    def address(self) -> str:
        """Give the host and port to connect to; RuntimeError unless the server runs."""
        if self._server is None:
            raise RuntimeError("the server is not running")
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def start(self, host: str, port: int) -> None:
        """Listen; RuntimeError when it does already."""
        if self._server is not None:
            raise RuntimeError("the server is running")
        self._web = web.Server(self._handle, handler_cancellation=True, access_log=None)
        self._server = await asyncio.get_running_loop().create_server(self._web, host, port, backlog=_BACKLOG)

    async def close(self) -> None:
        """Cut every connection and end every request at once; harmless when closed before."""
        server, self._server = self._server, None
        if server is None or self._web is None:
            return
        for _ in range(_ACCEPTING_TICKS):
            await asyncio.sleep(0)
        server.close()
        held = [connection.transport for connection in self._web.connections]
        for transport in filter(None, held):  # None where the client has just left
            transport.abort()
        for _ in iter(lambda: self.open_connections, 0):  # until the last one is gone
            await asyncio.sleep(0)
        await server.wait_closed()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self._working += 1
        try:
            received, answer = self._decide(request)
            await self._pause(answer.delay)
            return await self._deliver(request, received, answer)
        finally:
            self._working -= 1

    @contextmanager
    def _resting(self) -> Iterator[None]:
        self._working -= 1
        self.resting += 1
        try:
            yield
        finally:
            self.resting -= 1
            self._working += 1

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            with self._resting():
                await self._clock.sleep(seconds)

    async def _deliver(self, request: web.BaseRequest, received: ReceivedRequest, answer: Answer) -> web.StreamResponse:
        body = _name_operation(answer.body, received.ref)
        if answer.delivery is Delivery.WHOLE:
            received.status = answer.status
            return web.Response(status=answer.status, headers=self._headers(answer), body=body)
        _ACTIONS[answer.delivery](cast("asyncio.Transport", request.transport), body)
        with self._resting() if answer.delivery in _SILENT else nullcontext():
            return await _never()

    def _headers(self, answer: Answer) -> CIMultiDict[str]:
        headers = CIMultiDict(answer.headers)
        headers.setdefault("Date", format_datetime(self._to_date(self._clock.monotonic()), usegmt=True))
        if answer.body:
            headers.setdefault("Content-Type", MEDIA_TYPE)
        return headers


def _name_operation(body: bytes, ref: OperationRef | None) -> bytes:
    name = json.dumps(ref.operation_id)[1:-1] if ref is not None else ""
    return body.replace(OPERATION_ID.encode(), name.encode())


def _never() -> Awaitable[web.StreamResponse]:
    """Wait until the connection is lost, which cancels its request."""
    return asyncio.get_running_loop().create_future()


def _send_and_close(transport: asyncio.Transport, data: bytes) -> None:
    transport.write(data)
    transport.close()


def _send(transport: asyncio.Transport, data: bytes) -> None:
    transport.write(data)


def _reset(transport: asyncio.Transport, _: bytes) -> None:
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
    transport.abort()


def _do_nothing(_: asyncio.Transport, __: bytes) -> None:
    pass


_SILENT = (Delivery.FRAGMENT, Delivery.STALL)
_ACTIONS: dict[Delivery, Callable[[asyncio.Transport, bytes], None]] = {
    Delivery.RAW: _send_and_close,
    Delivery.FRAGMENT: _send,
    Delivery.RESET: _reset,
    Delivery.STALL: _do_nothing,
}
