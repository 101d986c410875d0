import asyncio
import gc
import itertools
import re
import weakref
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import pytest
from attrs import frozen
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

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
class Seen:
    """What the client got."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes
    json: Any

    @property
    def operation(self) -> Operation:
        return Operation.from_json(self.body, "s")


@frozen
class Client:
    """Asks the server as an honest client does, unless told otherwise."""

    http: aiohttp.ClientSession
    server: FakeSchedules

    async def get(self, target: OperationRef | str, method: str = "GET", **headers: str) -> Seen:
        given = {"Authorization": f"Bearer {self.server.token}"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        return await self.send(self.server.url + (target if isinstance(target, str) else target.path), method, given)

    async def send(self, url: str, method: str = "GET", headers: Mapping[str, str] | None = None) -> Seen:
        target = URL(url, encoded=True)
        async with self.http.request(method, target, headers=headers, allow_redirects=False) as response:
            body = await response.read()
            document = await response.json(content_type=None) if body.startswith(b"{") else None
            return Seen(response.status, response.headers, body, document)


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


async def until(is_so: Callable[[], bool]) -> None:
    for _ in itertools.takewhile(lambda _: not is_so(), itertools.count()):
        await asyncio.sleep(0)


# The contract


async def test_200_is_the_contracts(server: FakeSchedules, client: Client) -> None:
    seen = await client.get(ref := server.start_operation())
    assert seen.status == 200
    assert seen.headers["Content-Type"] == MEDIA_TYPE
    assert seen.headers["Date"] == "Thu, 01 Jan 2026 00:00:00 GMT"
    assert re.fullmatch('"[0-9a-f]+"', seen.headers["ETag"])
    assert seen.json["operation"] == {
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
async def test_if_none_match(server: FakeSchedules, client: Client, condition: str, status: int) -> None:
    ref = server.start_operation()
    tag = (await client.get(ref)).headers["ETag"]
    sent = condition.format(tag=tag)
    seen = await client.get(ref, If_None_Match=sent)
    assert seen.status == status
    assert seen.headers["ETag"] == tag
    assert (seen.body == b"") is (status == 304)
    assert ("Content-Type" in seen.headers) is (status == 200)
    assert [request.if_none_match for request in server.requests] == [None, sent]


async def test_two_conditions_are_refused(server: FakeSchedules, client: Client) -> None:
    """As nginx does it."""
    headers = CIMultiDict([("Authorization", f"Bearer {server.token}"), ("If-None-Match", "*"), ("If-None-Match", "*")])
    seen = await client.send(server.url_of(server.start_operation()), headers=headers)
    assert (seen.status, seen.json["error"]["code"]) == (400, "InvalidRequest")


async def test_the_tag_is_new_exactly_when_the_operation_changed(
    server: FakeSchedules, client: Client, clock: FakeClock
) -> None:
    ref, tag, seen = server.start_operation(8, queued=2, progress="steps"), "", list[tuple[float, int, float]]()
    while not seen or seen[-1][2] < 100:
        answer = await client.get(ref, If_None_Match=tag or '"-"')
        if answer.status == 200:
            tag = answer.headers["ETag"]
            seen.append((clock.monotonic(), answer.status, answer.operation.percent_complete))
        await clock.sleep(1)
    assert seen == [(0, 200, 0), (2, 200, 0), (4, 200, 25), (6, 200, 50), (8, 200, 75), (10, 200, 100)]
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
async def test_401_wins(server: FakeSchedules, client: Client, authorization: str | None, code: str) -> None:
    """A bad bearer is refused before a quota counts, a path is read or a tag compared."""
    server.quota = 0
    headers = {"If-None-Match": "*"} | ({} if authorization is None else {"Authorization": authorization})
    for path in (server.start_operation().path, "/elsewhere"):
        seen = await client.send(server.url + path, headers=headers)
        assert (seen.status, seen.json["error"]["code"]) == (401, code)
        assert seen.headers["Content-Type"] == MEDIA_TYPE
        assert "ETag" not in seen.headers


async def test_401_without_a_header_is_the_contracts(server: FakeSchedules, client: Client) -> None:
    seen = await client.send(server.url_of(server.start_operation()))
    assert seen.json == {
        "error": {
            "code": "HeaderNotFound",
            "message": "Header Authorization was not found in the request. Access denied.",
        }
    }


async def test_tokens_expire(server: FakeSchedules, client: Client) -> None:
    ref, old = server.start_operation(), server.token
    server.reject_token(old)
    assert (await client.get(ref)).status == 401
    server.token = "new"
    assert (await client.get(ref)).status == 200
    assert (await client.get(ref, Authorization=f"bearer {old}")).status == 401


@pytest.mark.parametrize("is_known", [True, False])
async def test_404_is_the_contracts(server: FakeSchedules, client: Client, is_known: bool) -> None:
    ref = OperationRef("s", "o")
    if is_known:
        server.forget_operation(ref := server.start_operation())
    server.forget_operation(ref)
    seen = await client.get(ref, If_None_Match="*")
    assert seen.status == 404
    assert seen.json == {
        "error": {
            "code": "OperationNotFound",
            "message": "Requested Operation is not available.",
            "target": "operationId",
        }
    }


@pytest.mark.parametrize("path", ["/", "/schedules", "/schedules/s/operations", "/schedules/s/operations/o/x"])
async def test_other_paths_are_404(server: FakeSchedules, client: Client, path: str) -> None:
    assert (await client.get(path)).status == 404
    assert (server.requests[0].ref, server.requests[0].path) == (None, path)


async def test_methods(server: FakeSchedules, client: Client) -> None:
    ref = server.start_operation()
    for method in ("POST", "DELETE"):
        seen = await client.get(ref, method)
        assert (seen.status, seen.headers["Allow"]) == (405, "GET, HEAD")
    get, head = await client.get(ref), await client.get(ref, "HEAD")
    assert (head.status, head.body, head.headers["ETag"]) == (200, b"", get.headers["ETag"])
    assert [request.method for request in server.requests] == ["POST", "DELETE", "GET", "HEAD"]


async def test_quota(server: FakeSchedules, client: Client, clock: FakeClock) -> None:
    ref = server.start_operation()
    server.quota, server.window = 2, 30.0
    await clock.sleep(4.5)
    seen = [await client.get(ref) for _ in range(3)]
    assert [answer.status for answer in seen] == [200, 200, 429]
    assert seen[2].headers["retry-after"] == "26"
    assert seen[2].json["error"]["code"] == "RateLimitExceeded"
    assert {name for name in seen[2].headers if name.startswith("ITwinPlatform-RateLimited-")} == {
        f"ITwinPlatform-RateLimited-{what}" for what in ("Tier", "API", "Operation", "Application")
    }
    await clock.sleep(26)
    assert (await client.get(ref)).status == 200
    server.quota = None
    assert (await client.get(ref)).status == 200


async def test_wrong_tokens_use_up_no_quota(server: FakeSchedules, client: Client) -> None:
    ref, server.quota = server.start_operation(), 1
    for authorization in ("Bearer x", "Bearer y"):
        await client.get(ref, Authorization=authorization)
    assert (await client.get(ref)).status == 200
    assert (await client.get(ref)).status == 429


# Operations alive in time


async def test_life_of_an_operation(server: FakeSchedules, client: Client, clock: FakeClock) -> None:
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


async def test_an_operation_that_fails(server: FakeSchedules, client: Client, clock: FakeClock) -> None:
    ref = server.start_operation(
        10, progress=lambda fraction: 37 * fraction, fails_with="no disk", sub_status="Copying"
    )
    await clock.sleep(5)
    assert (await client.get(ref)).operation.sub_status == "Copying"
    await clock.sleep(5)
    operation = (await client.get(ref)).operation
    assert operation.is_failed
    assert (operation.failure_description, operation.percent_complete) == ("no disk", 37)


async def test_ids_are_guids_and_the_same_in_every_run() -> None:
    first, second = FakeSchedules(), FakeSchedules()
    refs = [first.start_operation(), first.script_operation(Answer())]
    assert refs == [second.start_operation(), second.script_operation(Answer())]
    assert len({part for ref in refs for part in ref}) == 4
    assert all(GUID.fullmatch(part) for ref in refs for part in ref)


async def test_ids_may_be_given(server: FakeSchedules, client: Client) -> None:
    live = server.start_operation(schedule_id="a/b#c", operation_id='"é"')
    scripted = server.script_operation(operation_answer("Queued"), schedule_id="..x", operation_id='"\\')
    for ref in (live, scripted):
        assert (await client.get(ref)).operation.id == ref.operation_id
        assert OperationRef.from_url(server.url_of(ref)) == ref
    assert [request.ref for request in server.requests] == [live, scripted]
    with pytest.raises(ValueError, match="schedule_id"):
        server.start_operation(schedule_id="")


# Operations by script


async def test_answers_come_in_turn_and_the_last_for_ever(server: FakeSchedules, client: Client) -> None:
    ref = server.script_operation(
        operation_answer("Started", percent_complete=10, etag='"E1"'),
        not_modified('"E1"'),
        not_modified(),
        operation_answer("Started", percent_complete=40, etag='W/"E2"'),
        operation_answer("Succeeded"),
    )
    seen = [await client.get(ref, If_None_Match='"E1"') for _ in range(7)]
    assert [answer.status for answer in seen] == [200, 304, 304, 200, 200, 200, 200]
    assert [answer.headers.get("ETag") for answer in seen] == ['"E1"', '"E1"', None, 'W/"E2"', None, None, None]
    assert seen[-1].operation.is_succeeded


async def test_a_script_is_literal_unless_it_is_conditional(server: FakeSchedules, client: Client) -> None:
    literal = server.script_operation(operation_answer("Queued", etag='"E1"'))
    assert (await client.get(literal, If_None_Match='"E1"')).status == 200
    conditional = server.script_operation(operation_answer("Queued", etag='"E1"', is_conditional=True))
    assert (await client.get(conditional, If_None_Match='"E1"')).status == 304
    assert (await client.get(conditional, If_None_Match='"E0"')).status == 200
    untagged = server.script_operation(operation_answer("Queued", is_conditional=True))
    assert (await client.get(untagged, If_None_Match="*")).status == 304
    assert (await client.get(untagged, If_None_Match='"E1"')).status == 200


def test_an_empty_script_is_refused() -> None:
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
async def test_odd_answers(
    server: FakeSchedules, client: Client, answer: Answer, headers: dict[str, str], body: bytes | None
) -> None:
    seen = await client.get(server.script_operation(answer))
    assert seen.status == answer.status
    assert headers.items() <= {name: seen.headers[name] for name in headers}.items()
    assert body in (None, seen.body)
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
async def test_broken_answers(
    server: FakeSchedules, client: Client, answer: Answer, error: type[aiohttp.ClientError]
) -> None:
    ref = server.script_operation(answer)
    with pytest.raises(error):
        await client.get(ref)
    assert statuses(server.requests) == [None] * len(server.requests)


async def test_raw_bytes_are_the_answer(server: FakeSchedules, client: Client) -> None:
    ref = server.script_operation(raw(b"HTTP/1.1 203 Hm\r\nContent-Length: 2\r\n\r\nok"))
    seen = await client.get(ref)
    assert (seen.status, seen.body) == (203, b"ok")


async def test_delays_are_on_the_servers_clock(server: FakeSchedules, client: Client, clock: FakeClock) -> None:
    """Time jumps over the delay, and the answer bears the date of its sending."""
    ref = server.script_operation(operation_answer("Queued", delay=30))
    seen = await client.get(ref)
    assert clock.monotonic() == 30
    assert clock.pauses == [30]
    assert seen.headers["Date"] == "Thu, 01 Jan 2026 00:00:30 GMT"
    assert server.requests[0].time == 0


@pytest.mark.parametrize("answer", [stall(), operation_answer("Queued", delay=1e9)])
async def test_a_client_that_leaves_ends_its_request(server: FakeSchedules, client: Client, answer: Answer) -> None:
    ref = server.script_operation(answer)
    request = asyncio.create_task(client.get(ref))
    await until(lambda: bool(server.requests))
    request.cancel()
    await asyncio.wait({request})
    await until(lambda: server.open_connections == 0)
    assert (server.is_busy, statuses(server.requests)) == (False, [None])


async def test_a_stalled_request_does_not_hold_the_clock(
    server: FakeSchedules, client: Client, clock: FakeClock
) -> None:
    request = asyncio.create_task(client.get(server.script_operation(stall())))
    await clock.sleep(10)
    assert len(server.requests) == 1
    request.cancel()


# What meets everybody


async def test_refusals_and_interruptions_meet_the_next_requests_of_anybody(
    server: FakeSchedules, client: Client
) -> None:
    one, other = server.start_operation(), server.script_operation(operation_answer("Queued"))
    server.quota = 2
    server.refuse(2, retry_after=5)
    server.interrupt(fault(502), Answer(204))
    await client.get("/elsewhere")
    server.quota = 3
    await client.get(one, Authorization="Bearer wrong")
    seen = [await client.get(ref) for ref in (one, other, one, other, one, other, one)]
    assert [answer.status for answer in seen] == [429, 429, 502, 204, 200, 200, 429]
    assert [answer.headers.get("retry-after") for answer in seen[:3]] == ["5", "5", None]


# The server itself


async def test_requests_are_listed_as_they_came(server: FakeSchedules, client: Client, clock: FakeClock) -> None:
    slow = server.script_operation(operation_answer("Queued", delay=5))
    fast = server.start_operation()
    first = asyncio.create_task(client.get(slow))
    await clock.sleep(1)
    await client.get(fast.path + "?x=1", X_Test="yes")
    await first
    assert [(request.ref, request.time) for request in server.requests] == [(slow, 0), (fast, 1)]
    assert server.requests_for(fast) == server.requests[1:]
    assert server.requests[1].path == fast.path + "?x=1"
    assert server.requests[1].headers["x-TEST"] == "yes"


async def test_a_request_is_kept_as_it_was(server: FakeSchedules, client: Client) -> None:
    await client.get(server.start_operation())
    with pytest.raises(AttributeError):
        server.requests[0].path = "/other"


async def test_it_is_busy_while_it_works(server: FakeSchedules, client: Client) -> None:
    seen = list[bool]()

    def look(_: float) -> float:
        seen.append(server.is_busy)
        return 0.0

    await client.get(server.start_operation(progress=look))
    assert seen == [True]
    assert not server.is_busy


@pytest.mark.parametrize("prefix", ["api/v1", "/api/v1/"])
async def test_prefix_and_host(prefix: str) -> None:
    async with FakeSchedules(prefix=prefix, host="::1", token="t") as server, aiohttp.ClientSession() as http:
        assert re.fullmatch(r"http://\[::1\]:\d+/api/v1", server.url)
        client, ref = Client(http, server), server.start_operation()
        assert (await client.get(ref)).status == 200
        root = str(URL(server.url).origin())
        assert (await client.send(root + ref.path, headers={"Authorization": "Bearer t"})).status == 404


async def test_on_the_system_clock_dates_are_real() -> None:
    async with FakeSchedules(clock=None) as server, aiohttp.ClientSession() as http:
        seen = await Client(http, server).get(server.start_operation(queued=3600))
    date = parsedate_to_datetime(seen.headers["Date"])
    assert abs((datetime.now(UTC) - date).total_seconds()) < 600
    assert seen.operation.created_at is not None
    assert abs((seen.operation.created_at - date).total_seconds()) < 600


async def test_open_connections(server: FakeSchedules) -> None:
    assert server.open_connections == 0
    async with aiohttp.ClientSession() as http:
        await Client(http, server).get(server.start_operation())
        assert server.open_connections == 1
    await until(lambda: server.open_connections == 0)


@pytest.mark.parametrize("debug", [True, False])
def test_closing_leaves_nothing(debug: bool) -> None:
    """Stalled, delayed, idle and half-sent requests end at once, without a warning."""

    async def use() -> None:
        clock = FakeClock(auto=False)
        async with AsyncExitStack() as stack:
            http = await stack.enter_async_context(aiohttp.ClientSession())
            server = await stack.enter_async_context(FakeSchedules(clock=clock))
            answers = (stall(), operation_answer("Queued", delay=9), raw(b"HTTP/1.1", close=False), Answer())
            client = Client(http, server)
            tasks = [asyncio.create_task(client.get(server.script_operation(answer))) for answer in answers]
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


async def test_it_may_start_again() -> None:
    server = FakeSchedules()
    ref = server.start_operation()
    for _ in range(2):
        await server.start()
        async with aiohttp.ClientSession() as http:
            assert (await Client(http, server).get(ref)).status == 200
        await server.close()


async def test_many_at_once(server: FakeSchedules, clock: FakeClock) -> None:
    """300 clients, each on its own connection, look every second; all polls happen on the second."""
    ref = server.start_operation(3)

    async def watch(client: Client) -> None:
        while not (await client.get(ref)).operation.is_done:
            await clock.sleep(1)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        await asyncio.gather(*(watch(Client(http, server)) for _ in range(300)))
    assert [request.time for request in server.requests] == [second for second in range(4) for _ in range(300)]


async def test_its_sessions_share_its_clock_which_stands_still_while_they_wait_for_an_answer() -> None:
    """However long the answer takes for real; a delay of the server's own clock passes."""
    clock = FakeClock()
    async with FakeSchedules(clock=clock) as server, server.session(rate_limits=()) as session:
        ref = server.script_operation(operation_answer("Queued", delay=5))
        call = asyncio.create_task(session.get_operation(*ref))
        sleeping = asyncio.create_task(clock.sleep(3))
        assert (await call).status == "Queued"
        assert sleeping.done()
        assert clock.monotonic() == 5
        assert session.stats.in_flight == 0


async def test_it_does_not_keep_the_sessions_that_it_made() -> None:
    async with FakeSchedules() as server:
        session = server.session()
        await session.close()
        made = weakref.ref(session)
        del session
        gc.collect()
        assert made() is None
