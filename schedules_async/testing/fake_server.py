"""A fake service: the whole contract over real HTTP on the loopback."""

import asyncio
import itertools
import socket
import struct
import uuid
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any, Self, cast
from weakref import WeakSet

from aiohttp import web
from attrs import define, field

from schedules_async import ClientCredentials, SchedulesSession
from schedules_async._clock import Clock, Seconds, SystemClock, to_clock, to_seconds
from schedules_async._operations.ref import OperationRef
from schedules_async.testing.answers import START_OF_TIME, Answer, fill_in_id, not_modified, throttled
from schedules_async.testing.fake_clock import FakeClock
from schedules_async.testing.protocol import (
    ENDPOINT,
    NOT_FOUND,
    ReceivedRequest,
    check_client,
    check_route,
    check_token,
    matches,
    read_path,
    to_headers,
)
from schedules_async.testing.simulated_operation import Progress, SimulatedOperation

_BACKLOG = 1024  # if the queue is full, clients retry the connection only after real seconds
_LINGER_ZERO = struct.pack("ii", 1, 0)  # closing the socket sends a reset
_ACCEPTING_TICKS = 3  # iterations of the event loop until an accepted connection has its protocol
_NAMESPACE = uuid.UUID("2f9c1a44-6a0e-5c1b-9d53-5d0a6f1f7c11")


@define(eq=False, repr=False, kw_only=True)
class FakeSchedules:
    """A server of `GET /schedules/{scheduleId}/operations/{operationId}` on the loopback, for tests and demos.

    It runs within `async with`, or from `start` to `close`, on the running event loop; within a plain `with` it runs
    in a thread of its own, for synchronous code. It listens at `host` and `port` (0: a free one) and accepts the
    bearer `token`. All times are those of `clock`, by default the system's; a `FakeClock` stands still while one of
    the server's own sessions or credentials awaits an answer. With a `quota`, only that many requests are accepted in
    each fixed window of `window` seconds, and the others are answered with 429; requests with a wrong token do not
    count. `prefix` is the path in front of every resource. `requests` lists the received requests in order of arrival.
    At `token_url` the client `client_id` gets further tokens for its `client_secret`, each valid for `token_life`
    seconds; `token_requests` lists the requests for them. `token`, `quota`, `window`, `client_id`, `client_secret` and
    `token_life` may be set while the server runs.
    """

    clock: Clock = field(default=None, converter=to_clock)
    _prefix: str = field(default="", alias="prefix")
    _host: str = field(default="127.0.0.1", alias="host")
    _port: int = field(default=0, alias="port")
    token: str = field(default="test-token")
    quota: int | None = None
    window: float = field(default=60.0, converter=to_seconds)
    client_id: str = "test-client"
    client_secret: str = field(default="test-secret")
    token_life: float = field(default=3600.0, converter=to_seconds)
    requests: list[ReceivedRequest] = field(init=False, factory=list)
    token_requests: list[ReceivedRequest] = field(init=False, factory=list)
    _rejected: set[str] = field(init=False, factory=set)
    _operations: dict[OperationRef | None, Callable[[float], Answer]] = field(init=False, factory=dict)
    _interruptions: deque[Answer] = field(init=False, factory=deque)
    _accepted: Counter[tuple[float, float]] = field(init=False, factory=Counter)  # by start and length of the window
    _numbers: Iterator[int] = field(init=False, factory=lambda: itertools.count(1))
    _clients: WeakSet[SchedulesSession | ClientCredentials] = field(init=False, factory=WeakSet)
    _expiry_times: dict[str, float] = field(init=False, factory=dict)  # of every token that was issued
    _token_interruptions: deque[Answer] = field(init=False, factory=deque)
    _zero: datetime = field(init=False, default=datetime.fromisoformat(START_OF_TIME))  # when the clock reads zero
    _server: asyncio.Server | None = field(init=False, default=None)
    _web: web.Server = field(init=False)  # of the newest `start`
    _running: ExitStack = field(init=False)  # of `__enter__`
    _waiting: int = field(init=False, default=0)  # the number of requests that are delayed by the clock, or stalled

    def __attrs_post_init__(self) -> None:
        self._prefix = f"/{self._prefix.strip('/')}".rstrip("/")
        if isinstance(self.clock, SystemClock):
            self._zero = datetime.now(UTC) - timedelta(seconds=self.clock.monotonic())
        if isinstance(self.clock, FakeClock):
            self.clock.add_busy(self._is_awaited)

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
        if self._server is None:
            return
        if self._server.get_loop() is not asyncio.get_running_loop():
            raise RuntimeError("the server runs on another event loop")
        server, self._server, cancellation, ticks = self._server, None, None, 0
        while ticks <= _ACCEPTING_TICKS or self._web.connections:
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

    @property
    def url(self) -> str:
        """The base URL, with the prefix and without a final slash; raise RuntimeError if the server is not running."""
        if self._server is None:
            raise RuntimeError("the server is not running")
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}{self._prefix}"

    @property
    def token_url(self) -> str:
        """The URL of the token endpoint; raise RuntimeError if the server is not running."""
        return self.url + ENDPOINT

    def url_of(self, ref: OperationRef) -> str:
        """Return the URL of an operation."""
        return self.url + ref.path

    @property
    def open_connections(self) -> int:
        """The number of open connections."""
        return 0 if self._server is None else len(self._web.connections)

    def session(self, **options: Any) -> SchedulesSession:
        """Return a session for this server, with its URL, token and clock; `options` are `SchedulesSession`'s.

        A `FakeClock` stands still while a request of the session is in flight. Do not lend the session an `http`
        whose connector makes a request wait for one that is delayed by the clock.
        """
        session = SchedulesSession(**{"auth": self.token, "base_url": self.url, "clock": self.clock, **options})
        self._clients.add(session)
        return session

    def credentials(self, **options: Any) -> ClientCredentials:
        """Return credentials that this server accepts, on its clock: `server.session(auth=server.credentials())`."""
        defaults = {"client_id": self.client_id, "client_secret": self.client_secret, "token_url": self.token_url}
        credentials = ClientCredentials(**{**defaults, "clock": self.clock, **options})
        self._clients.add(credentials)
        return credentials

    def requests_for(self, ref: OperationRef) -> list[ReceivedRequest]:
        """Return the requests for one operation, in order of arrival."""
        return [request for request in self.requests if request.ref == ref]

    def start_operation(
        self,
        duration: Seconds = 10.0,
        *,
        queued: Seconds = 0.0,
        progress: Progress = "linear",
        fails_with: str | None = None,
        sub_status: str | Sequence[str] | None = None,
        schedule_id: str | None = None,
        operation_id: str | None = None,
    ) -> OperationRef:
        """Start an operation that is queued for `queued` seconds, runs for `duration` seconds and then succeeds.

        `progress` is "linear", "steps" (of 25 percent), "stuck" (at 60 percent), "none" (0 percent) or a function
        from the elapsed fraction of the run to percent. With `fails_with` the operation fails at its end, with
        that description. `sub_status` is sent during the run; several divide it evenly. Ids are GUIDs by default,
        the same ones in every run.
        """
        ref = self._new_ref(schedule_id, operation_id)
        phases = (sub_status,) if isinstance(sub_status, str) else tuple(sub_status or ())
        now = self.clock.monotonic()
        operation = SimulatedOperation(ref, self._zero, now, queued, duration, progress, phases, fails_with)
        self._operations[ref] = operation.answer
        return ref

    def script_operation(
        self, *answers: Answer, schedule_id: str | None = None, operation_id: str | None = None
    ) -> OperationRef:
        """Add an operation that sends these answers in turn, then repeats the last; raise ValueError without any."""
        if not answers:
            raise ValueError("a script needs at least one answer")
        ref = self._new_ref(schedule_id, operation_id)
        script = itertools.chain(answers, itertools.repeat(answers[-1]))
        self._operations[ref] = lambda _: next(script)
        return ref

    def forget_operation(self, ref: OperationRef) -> None:
        """Remove an operation: requests for it are answered with 404."""
        self._operations.pop(ref, None)

    def interrupt(self, *answers: Answer) -> None:
        """Send these answers to the next requests for any operations, one each; they do not count in the quota."""
        self._interruptions.extend(answers)

    def refuse(self, times: int = 1, *, retry_after: Seconds | str | None = 1.0) -> None:
        """Answer the next `times` requests for any operations with 429."""
        self.interrupt(*[throttled(retry_after)] * times)

    def interrupt_tokens(self, *answers: Answer) -> None:
        """Send these answers to the next token requests, one each."""
        self._token_interruptions.extend(answers)

    def reject_token(self, token: str) -> None:
        """Answer requests with this token with 401, even if it is the server's own `token`."""
        self._rejected.add(token)

    def _new_ref(self, schedule_id: str | None, operation_id: str | None) -> OperationRef:
        number = next(self._numbers)
        return OperationRef(
            str(uuid.uuid5(_NAMESPACE, f"schedule {number}")) if schedule_id is None else schedule_id,
            str(uuid.uuid5(_NAMESPACE, f"operation {number}")) if operation_id is None else operation_id,
        )

    def _is_awaited(self) -> bool:
        """Return True if clients wait for more answers than the server delays."""
        return sum(client.in_flight for client in self._clients) > self._waiting

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        ref, now = read_path(request.raw_path, self._prefix), self.clock.monotonic()
        received = ReceivedRequest(ref, now, request.method, request.raw_path, request.headers)
        answer = self._decide(received)
        if answer.delay > 0:
            await self._wait(self.clock.sleep(answer.delay))
        body = fill_in_id(answer.body, ref)
        if answer.delivery == "http":
            received.status, date = answer.status, self._zero + timedelta(seconds=self.clock.monotonic())
            return web.Response(status=answer.status, headers=to_headers(answer, date), body=body)
        transport = cast("asyncio.Transport", request.transport)
        transport.write(body)
        if answer.delivery == "stall":
            await self._wait(asyncio.Event().wait())  # until disconnected, which cancels it
        if answer.delivery == "reset":
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        transport.close()
        return web.Response()  # which is not sent: the transport is closing

    async def _wait(self, end: Awaitable[object]) -> None:
        """Wait for something while the request does not stop a `FakeClock`."""
        self._waiting += 1
        try:
            await end
        finally:
            self._waiting -= 1

    def _decide(self, received: ReceivedRequest) -> Answer:
        """Return the answer of the first rule that has one."""
        if received.path == self._prefix + ENDPOINT:
            self.token_requests.append(received)
            return self._issue(received)
        self.requests.append(received)
        issued = (token for token, expiry in self._expiry_times.items() if received.time < expiry)
        return (
            check_token(received.headers.get("Authorization"), {self.token, *issued} - self._rejected)
            or self._check_load(received)
            or check_route(received)
            or self._answer(received)
        )

    def _issue(self, received: ReceivedRequest) -> Answer:
        """Return a new token, `token` with a number, to the client with these credentials; the form is not checked."""
        if self._token_interruptions:
            return self._token_interruptions.popleft()
        authorization, client = received.headers.get("Authorization", ""), (self.client_id, self.client_secret)
        error = check_client(received.method, authorization, client)
        if error is not None:
            return error
        token, life = f"{self.token}-{len(self._expiry_times) + 1}", self.token_life
        self._expiry_times[token] = received.time + life
        grant = {"access_token": token, "token_type": "Bearer", "expires_in": life, "scope": "itwin-platform"}
        return Answer(200, grant, {"Cache-Control": "no-store", "Content-Type": "application/json"})

    def _check_load(self, received: ReceivedRequest) -> Answer | None:
        """Return the next interruption, or a 429 above the quota, or None."""
        if self._interruptions and received.ref is not None:
            return self._interruptions.popleft()
        if self.quota is None:
            return None
        start = received.time // self.window * self.window
        if self._accepted[start, self.window] >= self.quota:
            return throttled(max(start + self.window - received.time, 1))
        self._accepted[start, self.window] += 1
        return None

    def _answer(self, received: ReceivedRequest) -> Answer:
        answer_at = self._operations.get(received.ref)
        if answer_at is None:
            return NOT_FOUND
        answer = answer_at(received.time)
        if answer.is_conditional and matches(received.if_none_match, answer.etag):
            return not_modified(answer.etag, delay=answer.delay)
        return answer
