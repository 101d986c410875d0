import ast
import asyncio
import contextlib
import gc
import itertools
import re
import socket
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from attrs import frozen
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from schedules_async import testing
from schedules_async._operations.operation import Operation, OperationStatus
from schedules_async._operations.ref import OperationRef
from schedules_async.testing import (
    Answer,
    FakeClock,
    FakeSchedules,
    ReceivedRequest,
    cut_body,
    fault,
    not_modified,
    operation_answer,
    raw,
    reset,
    stall,
    throttled,
)

MEDIA_TYPE = "application/vnd.bentley.itwin-platform.v1+json"
GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@frozen
class Response:
    """What the client received."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes
    json: Any

    @property
    def operation(self) -> Operation:
        return Operation.from_json(self.body, "s")


@frozen
class Client:
    """A client that sends the server's own token by default."""

    http: aiohttp.ClientSession
    server: FakeSchedules

    async def get(self, target: OperationRef | str, method: str = "GET", **headers: str) -> Response:
        sent = {"Authorization": f"Bearer {self.server.token}"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        return await self.send(self.server.url + (target if isinstance(target, str) else target.path), method, sent)

    async def send(self, url: str, method: str = "GET", headers: Mapping[str, str] | None = None) -> Response:
        target = URL(url, encoded=True)
        async with self.http.request(method, target, headers=headers, allow_redirects=False) as response:
            body = await response.read()
            document = await response.json(content_type=None) if body.startswith(b"{") else None
            return Response(response.status, response.headers, body, document)


@pytest.fixture
async def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def server(clock: FakeClock) -> AsyncIterator[FakeSchedules]:
    async with FakeSchedules(clock=clock) as server:
        yield server


@pytest.fixture
async def client(server: FakeSchedules) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession(auto_decompress=False) as http:
        yield Client(http, server)


def statuses(requests: list[ReceivedRequest]) -> list[int | None]:
    return [request.status for request in requests]


async def until(condition: Callable[[], bool]) -> None:
    for _ in itertools.takewhile(lambda _: not condition(), itertools.count()):
        await asyncio.sleep(0)


# The contract


async def test_200_has_contract_headers_and_body(server: FakeSchedules, client: Client) -> None:
    response = await client.get(ref := server.start_operation())
    assert response.status == 200
    assert response.headers["Content-Type"] == MEDIA_TYPE
    assert response.headers["Date"] == "Thu, 01 Jan 2026 00:00:00 GMT"
    assert re.fullmatch('"[0-9a-f]+"', response.headers["ETag"])
    assert response.json["operation"] == {
        "createdAt": "2026-01-01T00:00:00Z",
        "failureDescription": None,
        "id": ref.operation_id,
        "percentComplete": 0.0,
        "status": "Started",
        "subStatus": None,
        "updatedAt": "2026-01-01T00:00:00Z",
    }


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ("{tag}", 304),
        ("W/{tag}", 304),
        ('"x", {tag}', 304),
        ("*", 304),
        ('"x"', 200),
        ('"x", W/"y"', 200),
        ("x", 200),
    ],
)
async def test_if_none_match_decides_between_200_and_304(
    server: FakeSchedules, client: Client, condition: str, status: int
) -> None:
    ref = server.start_operation()
    tag = (await client.get(ref)).headers["ETag"]
    sent = condition.format(tag=tag)
    response = await client.get(ref, If_None_Match=sent)
    assert response.status == status
    assert response.headers["ETag"] == tag
    assert (response.body == b"") is (status == 304)
    assert ("Content-Type" in response.headers) is (status == 200)
    assert [request.if_none_match for request in server.requests] == [None, sent]


async def test_two_if_none_match_fields_are_answered_400(server: FakeSchedules, client: Client) -> None:
    """So does nginx."""
    headers = CIMultiDict([("Authorization", f"Bearer {server.token}"), ("If-None-Match", "*"), ("If-None-Match", "*")])
    response = await client.send(server.url_of(server.start_operation()), headers=headers)
    assert (response.status, response.json["error"]["code"]) == (400, "InvalidRequest")


async def test_etag_changes_exactly_with_operation(server: FakeSchedules, client: Client, clock: FakeClock) -> None:
    ref, tag, changes = server.start_operation(8, queued=2, progress="steps"), "", list[tuple[float, int, float]]()
    while not changes or changes[-1][2] < 100:
        answer = await client.get(ref, If_None_Match=tag or '"-"')
        if answer.status == 200:
            tag = answer.headers["ETag"]
            changes.append((clock.monotonic(), answer.status, answer.operation.percent_complete))
        await clock.sleep(1)
    assert changes == [(0, 200, 0), (2, 200, 0), (4, 200, 25), (6, 200, 50), (8, 200, 75), (10, 200, 100)]
    assert statuses(server.requests).count(304) == 5


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        (None, "HeaderNotFound"),
        ("", "InvalidToken"),
        ("Bearer wrong", "InvalidToken"),
        ("Basic test-token", "InvalidToken"),
        ("test-token", "InvalidToken"),
    ],
)
async def test_wrong_token_is_answered_401_first(
    server: FakeSchedules, client: Client, authorization: str | None, code: str
) -> None:
    """The token is checked before the quota, the path and the condition."""
    server.quota = 0
    headers = {"If-None-Match": "*"} | ({} if authorization is None else {"Authorization": authorization})
    for path in (server.start_operation().path, "/elsewhere"):
        response = await client.send(server.url + path, headers=headers)
        assert (response.status, response.json["error"]["code"]) == (401, code)
        assert response.headers["Content-Type"] == MEDIA_TYPE
        assert "ETag" not in response.headers


async def test_missing_token_has_contract_error_body(server: FakeSchedules, client: Client) -> None:
    response = await client.send(server.url_of(server.start_operation()))
    assert response.json == {
        "error": {
            "code": "HeaderNotFound",
            "message": "Header Authorization was not found in the request. Access denied.",
        }
    }


async def test_rejected_token_is_answered_401(server: FakeSchedules, client: Client) -> None:
    ref, old = server.start_operation(), server.token
    server.reject_token(old)
    assert (await client.get(ref)).status == 401
    server.token = "new"
    assert (await client.get(ref)).status == 200
    assert (await client.get(ref, Authorization=f"bearer {old}")).status == 401


@pytest.mark.parametrize("is_known", [True, False])
async def test_404_has_contract_error_body(server: FakeSchedules, client: Client, is_known: bool) -> None:
    ref = OperationRef("s", "o")
    if is_known:
        server.forget_operation(ref := server.start_operation())
    server.forget_operation(ref)
    response = await client.get(ref, If_None_Match="*")
    assert response.status == 404
    assert response.json == {
        "error": {
            "code": "OperationNotFound",
            "message": "Requested Operation is not available.",
            "target": "operationId",
        }
    }


@pytest.mark.parametrize("path", ["/", "/schedules", "/schedules/s/operations", "/schedules/s/operations/o/x"])
async def test_path_of_no_operation_is_answered_404(server: FakeSchedules, client: Client, path: str) -> None:
    assert (await client.get(path)).status == 404
    assert (server.requests[0].ref, server.requests[0].path) == (None, path)


async def test_unsupported_method_is_answered_405(server: FakeSchedules, client: Client) -> None:
    ref = server.start_operation()
    for method in ("POST", "DELETE"):
        response = await client.get(ref, method)
        assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")
    get, head = await client.get(ref), await client.get(ref, "HEAD")
    assert (head.status, head.body, head.headers["ETag"]) == (200, b"", get.headers["ETag"])
    assert [request.method for request in server.requests] == ["POST", "DELETE", "GET", "HEAD"]


async def test_request_above_quota_is_answered_429(server: FakeSchedules, client: Client, clock: FakeClock) -> None:
    ref = server.start_operation()
    server.quota, server.window = 2, 30.0
    await clock.sleep(4.5)
    responses = [await client.get(ref) for _ in range(3)]
    assert [answer.status for answer in responses] == [200, 200, 429]
    assert responses[2].headers["retry-after"] == "26"
    assert responses[2].json["error"]["code"] == "RateLimitExceeded"
    assert {name for name in responses[2].headers if name.startswith("ITwinPlatform-RateLimited-")} == {
        f"ITwinPlatform-RateLimited-{what}" for what in ("Tier", "API", "Operation", "Application")
    }
    await clock.sleep(26)
    assert (await client.get(ref)).status == 200
    server.quota = None
    assert (await client.get(ref)).status == 200


def wait_at(server: FakeSchedules, time: float) -> str | None:
    """Count a request; return the Retry-After, if it is above the quota."""
    answer = server._check_load(ReceivedRequest(None, time, "GET", "/", CIMultiDictProxy(CIMultiDict())))
    return None if answer is None else dict(answer.headers)["retry-after"]


@pytest.mark.parametrize(
    ("times", "waits"),
    [
        ([0, 1, 2, 3], [None, None, "58", "57"]),
        ([0, 59, 60, 61, 62], [None, None, None, None, "58"]),
        ([0, 0, 59.5], [None, None, "1"]),
        ([0, 0, 59.99], [None, None, "1"]),
        ([200, 200, 200.25], [None, None, "40"]),
    ],
)
def test_third_call_in_window_waits_for_next(times: list[float], waits: list[str | None]) -> None:
    server = FakeSchedules(quota=2)
    assert [wait_at(server, time) for time in times] == waits


def test_changed_window_length_restarts_count() -> None:
    server = FakeSchedules(quota=1)
    assert wait_at(server, 0.0) is None
    assert wait_at(server, 1.0) == "59"
    server.window = 10.0
    assert wait_at(server, 1.0) is None
    assert wait_at(server, 2.0) == "8"


def test_quota_of_zero_accepts_nothing() -> None:
    assert wait_at(FakeSchedules(quota=0, window=10), 0.0) == "10"


async def test_wrong_token_does_not_count_in_quota(server: FakeSchedules, client: Client) -> None:
    ref, server.quota = server.start_operation(), 1
    for authorization in ("Bearer x", "Bearer y"):
        await client.get(ref, Authorization=authorization)
    assert (await client.get(ref)).status == 200
    assert (await client.get(ref)).status == 429


# Simulated operations


async def test_operation_is_queued_runs_and_succeeds(server: FakeSchedules, client: Client, clock: FakeClock) -> None:
    await clock.sleep(60)
    ref = server.start_operation(10, queued=5, sub_status=("Copying", "Checking"))
    table = []
    for _ in range(4):
        operation = (await client.get(ref)).operation
        assert operation.created_at == datetime(2026, 1, 1, 0, 1, tzinfo=UTC)
        table.append((operation.status, operation.percent_complete, operation.sub_status, operation.updated_at))
        await clock.sleep(5)
    one_minute = datetime(2026, 1, 1, 0, 1, tzinfo=UTC)
    assert table == [
        (OperationStatus.QUEUED, 0, None, one_minute),
        (OperationStatus.STARTED, 0, "Copying", one_minute.replace(second=5)),
        (OperationStatus.STARTED, 50, "Checking", one_minute.replace(second=5)),
        (OperationStatus.SUCCEEDED, 100, None, one_minute.replace(second=15)),
    ]


async def test_operation_with_fails_with_fails_at_end(server: FakeSchedules, client: Client, clock: FakeClock) -> None:
    ref = server.start_operation(
        10, progress=lambda fraction: 37 * fraction, fails_with="no disk", sub_status="Copying"
    )
    await clock.sleep(5)
    assert (await client.get(ref)).operation.sub_status == "Copying"
    await clock.sleep(5)
    operation = (await client.get(ref)).operation
    assert operation.is_failed
    assert (operation.failure_description, operation.percent_complete) == ("no disk", 37)


async def test_default_ids_are_guids_equal_in_every_run() -> None:
    first, second = FakeSchedules(), FakeSchedules()
    refs = [first.start_operation(), first.script_operation(Answer())]
    assert refs == [second.start_operation(), second.script_operation(Answer())]
    assert len({part for ref in refs for part in ref}) == 4
    assert all(GUID.fullmatch(part) for ref in refs for part in ref)


async def test_given_ids_are_used_unchanged(server: FakeSchedules, client: Client) -> None:
    live = server.start_operation(schedule_id="a/b#c", operation_id='"é"')
    scripted = server.script_operation(operation_answer("Queued"), schedule_id="..x", operation_id='"\\')
    for ref in (live, scripted):
        assert (await client.get(ref)).operation.id == ref.operation_id
        assert OperationRef.from_url(server.url_of(ref)) == ref
    assert [request.ref for request in server.requests] == [live, scripted]
    with pytest.raises(ValueError, match="schedule_id"):
        server.start_operation(schedule_id="")


# Scripted operations


async def test_script_sends_answers_in_turn_then_repeats_last(server: FakeSchedules, client: Client) -> None:
    ref = server.script_operation(
        operation_answer("Started", percent_complete=10, etag='"E1"'),
        not_modified('"E1"'),
        not_modified(),
        operation_answer("Started", percent_complete=40, etag='W/"E2"'),
        operation_answer("Succeeded"),
    )
    responses = [await client.get(ref, If_None_Match='"E1"') for _ in range(7)]
    assert [answer.status for answer in responses] == [200, 304, 304, 200, 200, 200, 200]
    assert [answer.headers.get("ETag") for answer in responses] == ['"E1"', '"E1"', None, 'W/"E2"', None, None, None]
    assert responses[-1].operation.is_succeeded


async def test_script_evaluates_if_none_match_only_if_conditional(server: FakeSchedules, client: Client) -> None:
    literal = server.script_operation(operation_answer("Queued", etag='"E1"'))
    assert (await client.get(literal, If_None_Match='"E1"')).status == 200
    conditional = server.script_operation(operation_answer("Queued", etag='"E1"', is_conditional=True))
    assert (await client.get(conditional, If_None_Match='"E1"')).status == 304
    assert (await client.get(conditional, If_None_Match='"E0"')).status == 200
    untagged = server.script_operation(operation_answer("Queued", is_conditional=True))
    assert (await client.get(untagged, If_None_Match="*")).status == 304
    assert (await client.get(untagged, If_None_Match='"E1"')).status == 200


def test_script_without_answers_raises_value_error() -> None:
    with pytest.raises(ValueError, match="at least one"):
        FakeSchedules().script_operation()


@pytest.mark.parametrize(
    ("answer", "headers", "body"),
    [
        (Answer(418, b"tea"), {"Content-Type": MEDIA_TYPE}, b"tea"),
        (Answer(200, b"<p>", {"content-type": "text/html"}), {"Content-Type": "text/html"}, b"<p>"),
        (Answer(503, {}, {"Date": "never"}), {"Date": "never"}, b"{}"),
        (Answer(200, b"\x1f\x8b", {"Content-Encoding": "gzip"}), {"Content-Encoding": "gzip"}, b"\x1f\x8b"),
        (Answer(600), {"Content-Length": "0"}, b""),
        (Answer(302, None, {"Location": "/x"}), {"Location": "/x"}, b""),
        (fault(correlation_id="c1"), {"x-correlation-id": "c1", "ETag": 'W/"fault"'}, None),
        (fault(503, retry_after=7), {"retry-after": "7"}, None),
        (throttled(2.5), {"retry-after": "3"}, None),
        (throttled("soon"), {"retry-after": "soon"}, None),
    ],
)
async def test_unusual_answer_is_sent_unchanged(
    server: FakeSchedules, client: Client, answer: Answer, headers: dict[str, str], body: bytes | None
) -> None:
    response = await client.get(server.script_operation(answer))
    assert response.status == answer.status
    assert headers.items() <= {name: response.headers[name] for name in headers}.items()
    assert body in (None, response.body)
    assert statuses(server.requests) == [answer.status]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (cut_body(), aiohttp.ClientPayloadError),
        (raw(b""), aiohttp.ServerDisconnectedError),
        (raw(b"HTTP/9.9 what\r\n\r\n"), aiohttp.ClientResponseError),
        (reset(), aiohttp.ClientOSError),
    ],
)
async def test_incomplete_answer_fails_in_client(
    server: FakeSchedules, client: Client, answer: Answer, error: type[aiohttp.ClientError]
) -> None:
    ref = server.script_operation(answer)
    with pytest.raises(error):
        await client.get(ref)
    assert statuses(server.requests) == [None] * len(server.requests)


async def test_raw_bytes_are_sent_as_answer(server: FakeSchedules, client: Client) -> None:
    ref = server.script_operation(raw(b"HTTP/1.1 203 Hm\r\nContent-Length: 2\r\n\r\nok"))
    response = await client.get(ref)
    assert (response.status, response.body) == (203, b"ok")


async def test_delay_passes_on_server_clock(server: FakeSchedules, client: Client, clock: FakeClock) -> None:
    """Time jumps over the delay, and the answer has the date at which it is sent."""
    ref = server.script_operation(operation_answer("Queued", delay=30))
    response = await client.get(ref)
    assert clock.monotonic() == 30
    assert clock.pauses == [30]
    assert response.headers["Date"] == "Thu, 01 Jan 2026 00:00:30 GMT"
    assert server.requests[0].time == 0


@pytest.mark.parametrize("answer", [stall(), operation_answer("Queued", delay=1e9)])
async def test_client_disconnect_ends_its_request(answer: Answer) -> None:
    async with FakeSchedules(clock=FakeClock(auto=False)) as server, aiohttp.ClientSession() as http:
        request = asyncio.create_task(Client(http, server).get(server.script_operation(answer)))
        await until(lambda: bool(server.requests))
        request.cancel()
        await asyncio.wait({request})
        await until(lambda: server.open_connections == 0)
        assert (server._waiting, statuses(server.requests)) == (0, [None])


async def test_stalled_request_does_not_stop_clock(server: FakeSchedules, client: Client, clock: FakeClock) -> None:
    request = asyncio.create_task(client.get(server.script_operation(stall())))
    await until(lambda: len(server.requests) == 1)
    await clock.sleep(10)
    request.cancel()


# Answers to any request


async def test_refuse_and_interrupt_affect_next_requests(server: FakeSchedules, client: Client) -> None:
    one, other = server.start_operation(), server.script_operation(operation_answer("Queued"))
    server.quota = 2
    server.refuse(2, retry_after=5)
    server.interrupt(fault(502), Answer(204))
    await client.get("/elsewhere")
    server.quota = 3
    await client.get(one, Authorization="Bearer wrong")
    responses = [await client.get(ref) for ref in (one, other, one, other, one, other, one)]
    assert [answer.status for answer in responses] == [429, 429, 502, 204, 200, 200, 429]
    assert [answer.headers.get("retry-after") for answer in responses[:3]] == ["5", "5", None]


# The server itself


async def test_requests_are_listed_in_order_of_arrival() -> None:
    clock = FakeClock(auto=False)
    async with FakeSchedules(clock=clock) as server, aiohttp.ClientSession() as http:
        slow = server.script_operation(operation_answer("Queued", delay=5))
        fast = server.start_operation()
        first = asyncio.create_task(Client(http, server).get(slow))
        await until(lambda: len(server.requests) == 1)
        await clock.advance(1)
        await Client(http, server).get(fast.path + "?x=1", X_Test="yes")
        await clock.advance(4)
        await first
    assert [(request.ref, request.time) for request in server.requests] == [(slow, 0), (fast, 1)]
    assert server.requests_for(fast) == server.requests[1:]
    assert server.requests[1].path == fast.path + "?x=1"
    assert server.requests[1].headers["x-TEST"] == "yes"


async def test_received_request_is_immutable(server: FakeSchedules, client: Client) -> None:
    await client.get(server.start_operation())
    with pytest.raises(AttributeError):
        server.requests[0].path = "/other"


@pytest.mark.parametrize("prefix", ["api/v1", "/api/v1/"])
async def test_prefix_and_host_appear_in_url(prefix: str) -> None:
    async with FakeSchedules(prefix=prefix, host="::1", token="t") as server, aiohttp.ClientSession() as http:
        assert re.fullmatch(r"http://\[::1\]:\d+/api/v1", server.url)
        client, ref = Client(http, server), server.start_operation()
        assert (await client.get(ref)).status == 200
        root = str(URL(server.url).origin())
        assert (await client.send(root + ref.path, headers={"Authorization": "Bearer t"})).status == 404


async def test_dates_on_system_clock_are_real() -> None:
    async with FakeSchedules(clock=None) as server, aiohttp.ClientSession() as http:
        response = await Client(http, server).get(server.start_operation(queued=3600))
    date = parsedate_to_datetime(response.headers["Date"])
    assert abs((datetime.now(UTC) - date).total_seconds()) < 600
    assert response.operation.created_at is not None
    assert abs((response.operation.created_at - date).total_seconds()) < 600


async def test_open_connections_counts_client_connections(server: FakeSchedules) -> None:
    assert server.open_connections == 0
    async with aiohttp.ClientSession() as http:
        await Client(http, server).get(server.start_operation())
        assert server.open_connections == 1
    await until(lambda: server.open_connections == 0)


@pytest.mark.parametrize("debug", [True, False])
def test_close_ends_every_kind_of_request(debug: bool) -> None:
    """Stalled, delayed, idle and partly answered requests end at once, without a warning."""

    async def use() -> None:
        clock = FakeClock(auto=False)
        async with AsyncExitStack() as stack:
            http = await stack.enter_async_context(aiohttp.ClientSession())
            server = await stack.enter_async_context(FakeSchedules(clock=clock))
            answers = (stall(), operation_answer("Queued", delay=9), raw(b"HTTP/1.1", close=False), Answer())
            client = Client(http, server)
            tasks = [asyncio.create_task(client.get(server.script_operation(answer))) for answer in answers]
            await until(lambda: len(server.requests) == 4)
            await clock.advance(1)
            assert server.open_connections == 4
            await server.close()
            assert asyncio.all_tasks() == {asyncio.current_task(), *(task for task in tasks if not task.done())}
            await asyncio.gather(*tasks, return_exceptions=True)
        assert (clock.sleeping, server.open_connections) == (0, 0)
        with pytest.raises(RuntimeError, match="not running"):
            str(server.url)

    asyncio.run(use(), debug=debug)
    gc.collect()


async def test_closed_server_can_start_again() -> None:
    server = FakeSchedules()
    ref = server.start_operation()
    for _ in range(2):
        await server.start()
        async with aiohttp.ClientSession() as http:
            assert (await Client(http, server).get(ref)).status == 200
        await server.close()


async def test_100_clients_poll_at_equal_times(server: FakeSchedules, clock: FakeClock) -> None:
    """100 clients on a connection each poll every second, and all requests arrive at whole seconds."""
    ref = server.start_operation(3)

    async def poll(client: Client) -> None:
        while not (await client.get(ref)).operation.is_done:
            await clock.sleep(1)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        await asyncio.gather(*(poll(Client(http, server)) for _ in range(100)))
    assert [request.time for request in server.requests] == [second for second in range(4) for _ in range(100)]


async def test_clock_stands_still_while_session_awaits_answer() -> None:
    """However long the answer really takes; only its delay passes on the clock."""
    clock = FakeClock()
    async with FakeSchedules(clock=clock) as server, server.session(rate_limits=()) as session:
        ref = server.script_operation(operation_answer("Queued", delay=5))
        call = asyncio.create_task(session.get_operation(*ref))
        sleeping = asyncio.create_task(clock.sleep(3))
        assert (await call).status == "Queued"
        assert sleeping.done()
        assert clock.monotonic() == 5
        assert session.stats.in_flight == 0


async def test_closed_session_is_not_kept_by_server() -> None:
    async with FakeSchedules() as server:
        session = server.session()
        await session.close()
        reference = weakref.ref(session)
        del session
        gc.collect()
        assert reference() is None


def test_plain_with_serves_synchronous_client() -> None:
    with FakeSchedules(token="t") as server:
        ref = server.start_operation(duration=0)
        with contextlib.closing(HTTPConnection(*server_address(server), timeout=60)) as connection:
            connection.request("GET", ref.path, headers={"Authorization": "Bearer t"})
            operation = Operation.from_json(connection.getresponse().read(), ref.schedule_id)
        assert (operation.ref, operation.is_succeeded) == (ref, True)
        assert statuses(server.requests_for(ref)) == [200]
    with pytest.raises(RuntimeError, match="not running"):
        str(server.url)


def server_address(server: FakeSchedules) -> tuple[str, int]:
    url = URL(server.url)
    return url.host or "", url.port or 0


def test_plain_with_serves_session_of_another_loop() -> None:
    async def wait(server: FakeSchedules) -> Operation:
        async with server.session(auth=server.credentials()) as session:
            return await session.wait_for_operation(*server.start_operation(duration=0))

    with FakeSchedules() as server:
        assert asyncio.run(wait(server)).is_succeeded
        assert asyncio.run(wait(server)).is_succeeded


def test_plain_with_ends_connections_and_thread() -> None:
    with contextlib.ExitStack() as stack:
        with FakeSchedules() as server:
            connection = stack.enter_context(socket.create_connection(server_address(server), timeout=60))
            connection.sendall(b"GET /schedules/s/operations/o HTTP/1.1\r\nHost: x\r\n")
        assert "FakeSchedules" not in [thread.name for thread in threading.enumerate()]
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""


def test_plain_with_of_running_server_raises_runtime_error() -> None:
    with FakeSchedules() as server:
        with pytest.raises(RuntimeError, match="already running"):
            server.__enter__()
        assert server.open_connections == 0
        with pytest.raises(RuntimeError, match="another event loop"):
            asyncio.run(server.close())


def test_plain_with_fake_clock_raises_type_error() -> None:
    with pytest.raises(TypeError, match="async with"):
        FakeSchedules(clock=FakeClock()).__enter__()


def test_private_fields_have_explicit_alias() -> None:
    """Type checkers other than mypy take the arguments of `__init__` from the field's name or `alias`."""
    sources = [path.read_text("utf-8") for path in Path(testing.__file__).parent.glob("*.py")]
    classes = [node for text in sources for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]
    public = [definition for definition in classes if definition.name in testing.__all__]
    without_alias = [
        f"{definition.name}.{ast.unparse(node.target)}"
        for definition in public
        for node in definition.body
        if isinstance(node, ast.AnnAssign)
        and ast.unparse(node).startswith("_")
        and not re.search(r"alias=|init=False", ast.unparse(node))
    ]
    assert len(public) == 4
    assert without_alias == []


async def test_seconds_may_be_timedeltas() -> None:
    """Of all that a test sets up."""
    minute, clock = timedelta(minutes=1), FakeClock(start=timedelta(hours=1))
    server = FakeSchedules(clock=clock, window=minute, token_life=minute)
    assert (server.window, server.token_life, clock.monotonic()) == (60, 60, 3600)
    async with server, server.session() as session:
        operation = await session.wait_for_operation(server.start_operation(minute, queued=minute))
        assert operation.updated_at == datetime(2026, 1, 1, 1, 2, tzinfo=UTC)
        before = clock.monotonic()
        answers = throttled(minute), operation_answer("Started", delay=minute)
        await session.get_operation(server.script_operation(*answers))
        assert clock.monotonic() - before == pytest.approx(120)
