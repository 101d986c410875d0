"""The HTTP side of the fake server: it reads requests and sends answers; closing it leaves nothing behind."""

import asyncio
import json
import socket
import struct
from collections.abc import Callable, Iterator
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

_BACKLOG = 1024  # if the queue is full, clients retry the connection only after real seconds
_LINGER_ZERO = struct.pack("ii", 1, 0)  # closing the socket sends a reset
_ACCEPTING_TICKS = 3  # iterations of the event loop until an accepted connection has its protocol


@define(eq=False, on_setattr=setters.frozen)
class ReceivedRequest:
    """One request that the server received.

    `ref` is None if the path names no operation; `time` is the server's clock at arrival, in seconds; `path` is
    raw and includes the query; `headers` is case-insensitive. `status` is the status of the answer, or None if
    no HTTP answer was sent, or none yet.
    """

    ref: OperationRef | None
    time: float
    method: str
    path: str
    headers: CIMultiDictProxy[str]
    status: int | None = field(default=None, init=False, on_setattr=setters.NO_OP)

    @property
    def if_none_match(self) -> str | None:
        """The value of If-None-Match, several fields joined with commas, or None."""
        return ", ".join(self.headers.getall("If-None-Match", ())) or None


@define(eq=False)
class HttpServer:
    """An HTTP server that sends the answer that `decide` returns for each request."""

    _clock: Clock
    _decide: Callable[[web.BaseRequest], tuple[ReceivedRequest, Answer]]
    _to_date: Callable[[float], datetime]
    _server: asyncio.Server | None = field(init=False, default=None)
    _web: web.Server | None = field(init=False, default=None)
    _processing: int = field(init=False, default=0)
    waiting: int = field(init=False, default=0)  # requests that are delayed by the clock, or stalled

    @property
    def is_busy(self) -> bool:
        """True if a request is being processed; a delayed or stalled one does not count."""
        return self._processing > 0

    @property
    def open_connections(self) -> int:
        """The number of open connections."""
        return len(self._web.connections) if self._web is not None else 0

    @property
    def address(self) -> str:
        """The host and port to connect to; raise RuntimeError if the server is not running."""
        if self._server is None:
            raise RuntimeError("the server is not running")
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def start(self, host: str, port: int) -> None:
        """Start to listen; raise RuntimeError if the server is already running."""
        if self._server is not None:
            raise RuntimeError("the server is already running")
        self._web = web.Server(self._handle, handler_cancellation=True, access_log=None)
        create = asyncio.get_running_loop().create_server
        self._server = await create(self._web, host, port, backlog=_BACKLOG, start_serving=False)
        try:
            await self._server.start_serving()
        except asyncio.CancelledError:
            await self.close()
            raise

    async def close(self) -> None:
        """Abort all connections and requests, as `FakeSchedules.close` describes."""
        if self._server is None or self._web is None:
            return
        if self._server.get_loop() is not asyncio.get_running_loop():
            raise RuntimeError("the server runs on another event loop")
        cancellation = None
        for _ in self._close(self._server, self._web):
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError as error:
                cancellation = error
        if cancellation is not None:
            raise cancellation

    def _close(self, server: asyncio.Server, web_server: web.Server) -> Iterator[int]:
        """Close step by step, with one iteration of the event loop between two steps."""
        self._server = None
        yield from range(_ACCEPTING_TICKS)
        server.close()
        transports = [connection.transport for connection in web_server.connections]
        for transport in filter(None, transports):  # None once the client has disconnected
            transport.abort()
        yield from iter(lambda: self.open_connections, 0)  # until all are lost

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self._processing += 1
        try:
            received, answer = self._decide(request)
            if answer.delay > 0:
                with self._as_waiting():
                    await self._clock.sleep(answer.delay)
            return await self._deliver(request, received, answer)
        finally:
            self._processing -= 1

    @contextmanager
    def _as_waiting(self) -> Iterator[None]:
        self._processing -= 1
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1
            self._processing += 1

    async def _deliver(self, request: web.BaseRequest, received: ReceivedRequest, answer: Answer) -> web.StreamResponse:
        body = _fill_in_id(answer.body, received.ref)
        if answer.delivery is Delivery.WHOLE:
            received.status = answer.status
            return web.Response(status=answer.status, headers=self._headers(answer), body=body)
        _send(cast("asyncio.Transport", request.transport), answer.delivery, body)
        until_disconnected: asyncio.Future[web.StreamResponse] = asyncio.get_running_loop().create_future()
        with self._as_waiting() if answer.delivery is Delivery.FRAGMENT else nullcontext():
            return await until_disconnected

    def _headers(self, answer: Answer) -> CIMultiDict[str]:
        headers = CIMultiDict(answer.headers)
        headers.setdefault("Date", format_datetime(self._to_date(self._clock.monotonic()), usegmt=True))
        if answer.body:
            headers.setdefault("Content-Type", MEDIA_TYPE)
        return headers


def _fill_in_id(body: bytes, ref: OperationRef | None) -> bytes:
    operation_id = json.dumps(ref.operation_id)[1:-1] if ref is not None else ""
    return body.replace(OPERATION_ID.encode(), operation_id.encode())


def _send(transport: asyncio.Transport, delivery: Delivery, data: bytes) -> None:
    if delivery is Delivery.RESET:
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        transport.abort()
        return
    transport.write(data)
    if delivery is Delivery.RAW:
        transport.close()
