"""A fake service: the whole contract over real HTTP on the loopback."""

import itertools
import math
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any
from weakref import WeakSet

from attrs import define, field

from schedules_async import ClientCredentials, SchedulesSession
from schedules_async._clock import Seconds, to_seconds
from schedules_async._operations.ref import OperationRef
from schedules_async.testing.answers import Answer, error_answer, not_modified, throttled
from schedules_async.testing.fake_clock import FakeClock
from schedules_async.testing.http_server import HttpServer
from schedules_async.testing.protocol import (
    ENDPOINT,
    ReceivedRequest,
    WindowCounter,
    check_client,
    check_route,
    check_token,
    matches,
)
from schedules_async.testing.simulated_operation import Progress, SimulatedOperation

_NAMESPACE = uuid.UUID("2f9c1a44-6a0e-5c1b-9d53-5d0a6f1f7c11")


@define(eq=False, repr=False, kw_only=True)
class FakeSchedules(HttpServer):
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
    _counter: WindowCounter = field(init=False, factory=WindowCounter)
    _numbers: Iterator[int] = field(init=False, factory=lambda: itertools.count(1))
    _clients: WeakSet[SchedulesSession | ClientCredentials] = field(init=False, factory=WeakSet)
    _expiry_times: dict[str, float] = field(init=False, factory=dict)  # of every token that was issued
    _token_interruptions: deque[Answer] = field(init=False, factory=deque)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if isinstance(self.clock, FakeClock):
            self.clock.add_busy(self._is_awaited)

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

    def _is_awaited(self) -> bool:
        """Return True if clients wait for more answers than the server delays."""
        return sum(client.in_flight for client in self._clients) > self._waiting

    @property
    def token_url(self) -> str:
        """The URL of the token endpoint; raise RuntimeError if the server is not running."""
        return self.url + ENDPOINT

    def url_of(self, ref: OperationRef) -> str:
        """Return the URL of an operation."""
        return self.url + ref.path

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

    def _decide(self, received: ReceivedRequest) -> Answer:
        """Return the answer of the first rule that has one."""
        if received.path == self._prefix + ENDPOINT:
            self.token_requests.append(received)
            return self._issue(received)
        self.requests.append(received)
        return (
            check_token(received.headers.get("Authorization"), partial(self._is_valid, received.time))
            or self._check_load(received)
            or check_route(received)
            or self._answer(received)
        )

    def _issue(self, received: ReceivedRequest) -> Answer:
        """Return a new token, `token` with a number, to the client with these credentials; the form is not checked."""
        if self._token_interruptions:
            return self._token_interruptions.popleft()
        error = check_client(received, (self.client_id, self.client_secret))
        if error is not None:
            return error
        token, life = f"{self.token}-{len(self._expiry_times) + 1}", self.token_life
        self._expiry_times[token] = received.time + life
        grant = {"access_token": token, "token_type": "Bearer", "expires_in": life, "scope": "itwin-platform"}
        return Answer(200, grant, {"Cache-Control": "no-store", "Content-Type": "application/json"})

    def _is_valid(self, now: float, token: str) -> bool:
        is_known = token == self.token or now < self._expiry_times.get(token, -math.inf)
        return is_known and token not in self._rejected

    def _check_load(self, received: ReceivedRequest) -> Answer | None:
        """Return the next interruption, or a 429 above the quota, or None."""
        if self._interruptions and received.ref is not None:
            return self._interruptions.popleft()
        wait = None if self.quota is None else self._counter.count(received.time, self.quota, self.window)
        return None if wait is None else throttled(wait)

    def _answer(self, received: ReceivedRequest) -> Answer:
        answer_at = self._operations.get(received.ref)
        if answer_at is None:
            message = "Requested Operation is not available."
            return error_answer(404, "OperationNotFound", message, target="operationId")
        answer = answer_at(received.time)
        if answer.is_conditional and matches(received.if_none_match, answer.etag):
            return not_modified(answer.etag, delay=answer.delay)
        return answer
