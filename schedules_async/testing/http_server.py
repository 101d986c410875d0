"""The HTTP side of the fake server: it reads requests and sends answers; closing it leaves nothing behind."""

import asyncio
import socket
import struct
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from threading import Thread
from typing import Any, Self, TypeVar, cast

from aiohttp import web
from attrs import define, field
from multidict import CIMultiDict

from schedules_async._clock import Clock, SystemClock, to_clock
from schedules_async.testing.answers import MEDIA_TYPE, START_OF_TIME, Answer, Delivery, fill_in_id
from schedules_async.testing.fake_clock import FakeClock
from schedules_async.testing.protocol import ReceivedRequest, read_path

Value = TypeVar("Value")
_BACKLOG = 1024  # if the queue is full, clients retry the connection only after real seconds
_LINGER_ZERO = struct.pack("ii", 1, 0)  # closing the socket sends a reset
_ACCEPTING_TICKS = 3  # iterations of the event loop until an accepted connection has its protocol


@define(eq=False, repr=False, kw_only=True)
class HttpServer(ABC):
    """An HTTP server that sends the answer that a subclass decides on for each request."""

    clock: Clock = field(default=None, converter=to_clock)
    _prefix: str = field(default="", alias="prefix")
    _host: str = field(default="127.0.0.1", alias="host")
    _port: int = field(default=0, alias="port")
    _zero: datetime = field(init=False)  # the date at which the clock reads zero
    _server: asyncio.Server | None = field(init=False, default=None)
    _web: web.Server | None = field(init=False, default=None)
    _running: ExitStack = field(init=False)  # of `__enter__`
    _waiting: int = field(init=False, default=0)  # the number of requests that are delayed by the clock, or stalled

    def __attrs_post_init__(self) -> None:
        self._prefix = f"/{self._prefix.strip('/')}".rstrip("/")
        self._zero = datetime.fromisoformat(START_OF_TIME)
        if isinstance(self.clock, SystemClock):
            self._zero = datetime.now(UTC) - timedelta(seconds=self.clock.monotonic())

    @abstractmethod
    def _decide(self, received: ReceivedRequest) -> Answer:
        """Return the answer to a request."""

    @property
    def url(self) -> str:
        """The base URL, with the prefix and without a final slash; raise RuntimeError if the server is not running."""
        if self._server is None:
            raise RuntimeError("the server is not running")
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}{self._prefix}"

    @property
    def open_connections(self) -> int:
        """The number of open connections."""
        return len(self._web.connections) if self._web is not None else 0

    async def start(self) -> None:
        """Start to listen; raise RuntimeError if the server is already running."""
        if self._server is not None:
            raise RuntimeError("the server is already running")
        self._web = web.Server(self._handle, handler_cancellation=True, access_log=None)
        create = asyncio.get_running_loop().create_server
        self._server = await create(self._web, self._host, self._port, backlog=_BACKLOG, start_serving=False)
        try:
            await self._server.start_serving()
        except asyncio.CancelledError:
            await self.close()
            raise

    async def close(self) -> None:
        """Abort all connections and requests; do nothing if the server is not running.

        A cancellation is raised only after everything has ended. Raise RuntimeError on another event loop than
        that of the server.
        """
        if self._server is None or self._web is None:
            return
        if self._server.get_loop() is not asyncio.get_running_loop():
            raise RuntimeError("the server runs on another event loop")
        server, self._server, cancellation, ticks = self._server, None, None, 0
        while ticks <= _ACCEPTING_TICKS or self.open_connections:
            if ticks >= _ACCEPTING_TICKS:
                server.close()
                transports = [connection.transport for connection in self._web.connections]
                for transport in filter(None, transports):  # None once the client has disconnected
                    transport.abort()
            ticks += 1
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError as error:
                cancellation = error
        if cancellation is not None:
            raise cancellation

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    def __enter__(self) -> Self:
        if isinstance(self.clock, FakeClock):
            raise TypeError("a FakeClock works on one event loop only: use `async with`, or the system clock")
        loop = asyncio.new_event_loop()
        thread = Thread(target=loop.run_forever, name="FakeSchedules", daemon=True)

        def run(function: Callable[[], Coroutine[Any, Any, None]]) -> None:
            asyncio.run_coroutine_threadsafe(function(), loop).result()

        thread.start()
        with ExitStack() as stack:
            stack.callback(loop.close)
            stack.callback(thread.join)
            stack.callback(loop.call_soon_threadsafe, loop.stop)
            stack.callback(run, loop.shutdown_default_executor)
            run(self.start)
            stack.callback(run, self.close)
            self._running = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._running.close()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        ref, now = read_path(request.raw_path, self._prefix), self.clock.monotonic()
        received = ReceivedRequest(ref, now, request.method, request.raw_path, request.headers)
        answer = self._decide(received)
        if answer.delay > 0:
            await self._wait(self.clock.sleep(answer.delay))
        body = fill_in_id(answer.body, ref)
        if answer.delivery == "http":
            received.status = answer.status
            return web.Response(status=answer.status, headers=self._headers(answer), body=body)
        _send(cast("asyncio.Transport", request.transport), answer.delivery, body)
        end: asyncio.Future[web.StreamResponse] = asyncio.get_running_loop().create_future()
        return await (self._wait(end) if answer.delivery == "stall" else end)  # until disconnected

    async def _wait(self, end: Awaitable[Value]) -> Value:
        """Wait for something while the request does not stop a `FakeClock`."""
        self._waiting += 1
        try:
            return await end
        finally:
            self._waiting -= 1

    def _headers(self, answer: Answer) -> CIMultiDict[str]:
        headers, date = CIMultiDict(answer.headers), self._zero + timedelta(seconds=self.clock.monotonic())
        headers.setdefault("Date", format_datetime(date, usegmt=True))
        if answer.body:
            headers.setdefault("Content-Type", MEDIA_TYPE)
        return headers


def _send(transport: asyncio.Transport, delivery: Delivery, data: bytes) -> None:
    transport.write(data)
    if delivery == "reset":
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        transport.abort()
    elif delivery == "close":
        transport.close()
