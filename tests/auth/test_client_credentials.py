"""Client credentials: one request however many callers wait, early renewal, and an end where no token can be had."""

import asyncio
import base64
import copy
import itertools
import math
import pickle
import ssl
import traceback
import tracemalloc
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import aiohttp
import pytest
import trustme
from event_loops import HastyLoop, turns
from raw_servers import serve
from sessions import MakeSession

from schedules_async import AuthenticationError, ClientCredentials, SessionClosedError, TokenProvider, TransportError
from schedules_async._auth.client_credentials import ATTEMPT_TIMEOUT
from schedules_async._http.body import LARGEST_BODY
from schedules_async._http.responses import status_line
from schedules_async.testing import (
    Answer,
    FakeClock,
    FakeSchedules,
    cut_body,
    fault,
    operation_answer,
    raw,
    reset,
    stall,
    throttled,
)

SECRET = "canary-secret-that-must-not-be-seen"
DONE = operation_answer("Succeeded")


def grant(token: str, expires_in: object = 3600, **more: object) -> Answer:
    return Answer(200, {"access_token": token, "token_type": "Bearer", "expires_in": expires_in, **more})


def oauth_error(code: str) -> Answer:
    return Answer(400, {"error": code, "error_description": f"{SECRET} is wrong"})


@pytest.fixture
async def credentials(server: FakeSchedules) -> ClientCredentials:
    return server.credentials()


async def until(is_so: Callable[[], bool]) -> None:
    for _ in itertools.takewhile(lambda _: not is_so(), itertools.count()):
        await asyncio.sleep(0)


def has_come(server: FakeSchedules, number: int) -> bool:
    return len(server.token_requests) == number


def own_tasks() -> set[asyncio.Task[Any]]:
    return {task for task in asyncio.all_tasks() if "Listener" not in repr(task) and "web_" not in repr(task)}


# What it takes


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"client_secret": ""}, ValueError, "client_secret"),
        ({"client_secret": SECRET + "\n"}, ValueError, "client_secret"),
        ({"client_secret": SECRET + "\u00e9"}, ValueError, "client_secret"),
        ({"client_secret": SECRET.encode()}, TypeError, "client_secret must be text, not bytes"),
        ({"client_secret": None}, TypeError, "client_secret"),
        ({"client_id": ""}, ValueError, "client_id"),
        ({"client_id": 5}, TypeError, "client_id"),
        ({"scope": ""}, ValueError, "scope"),
        ({"scope": "a  b"}, ValueError, "scope"),
        ({"scope": ["a"]}, TypeError, "scope"),
        ({"http": 5}, TypeError, "http"),
        ({"clock": 5}, TypeError, "clock"),
        ({"token_url": "http://ims.example.com/token"}, ValueError, "https"),
        ({"token_url": "https://user:word@ims.example.com/token"}, ValueError, "credentials"),
        ({"token_url": "/connect/token"}, ValueError, "absolute"),
        ({"token_url": 5}, TypeError, "token_url"),
    ],
)
def test_unusable_argument_is_an_error_at_once(options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text) as caught:
        ClientCredentials(**{"client_id": "id", "client_secret": SECRET, **options})
    assert "canary" not in repr(caught.value)
    assert "word" not in str(caught.value)


def test_credentials_show_no_secret_nor_copy() -> None:
    """Neither their repr shows it, nor can they be pickled or copied."""
    credentials = ClientCredentials("service-id", SECRET)
    assert repr(credentials) == "<ClientCredentials service-id at https://qa-ims.bentley.com/connect/token>"
    for make in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="pickled or copied"):
            make(credentials)
    assert isinstance(credentials, TokenProvider)


def test_signature_help_shows_the_class_docstring() -> None:
    """Editors prefer the docstring of `__init__` where there is one."""
    assert "client_secret" in (ClientCredentials.__doc__ or "")
    assert ClientCredentials.__init__.__doc__ is None


async def test_token_request_follows_the_standard() -> None:
    """RFC 6749 sections 2.3.1 and 4.4.2: both halves form-encoded before they are encoded."""
    received: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append((await reader.readuntil(b"\r\n\r\n")).decode())
        received.append((await reader.readuntil(b"two")).decode())
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 23\r\n\r\n{"access_token": "t-1"}')
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listening:
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/token?tenant=x"
        credentials = ClientCredentials("a:b", "c d+%", token_url=url, scope="one two")
        assert await credentials.get_token() == "t-1"
    lines = received[0].split("\r\n")
    pair = base64.b64encode(b"a%3Ab:c+d%2B%25").decode()
    assert lines[0] == "POST /token?tenant=x HTTP/1.1"
    assert {f"Authorization: Basic {pair}", "Accept: application/json"} <= set(lines)
    assert "Content-Type: application/x-www-form-urlencoded" in lines
    assert "cookie" not in received[0].lower()
    assert received[1] == "grant_type=client_credentials&scope=one+two"


# A borrowed aiohttp session


@pytest.mark.parametrize(("status", "count"), [(407, ""), (503, " (3 attempts)")])
async def test_answer_of_the_proxy_is_called_that(clock: FakeClock, status: int, count: str) -> None:
    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 %d word\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status)
        writer.close()

    async with serve(refuse) as proxy, aiohttp.ClientSession(proxy=proxy.replace("//", "//user:word@")) as http:
        token_url = "https://ims.example/token"
        credentials = ClientCredentials("service", SECRET, token_url=token_url, http=http, clock=clock)
        with pytest.raises(AuthenticationError) as caught:
            await credentials.get_token()
    said = f"cannot reach ims.example:443: the proxy {proxy.removeprefix('http://')} answered {status_line(status)}"
    assert str(caught.value) == f"no token could be obtained from ims.example: {said}{count}"
    assert isinstance(caught.value.__cause__, TransportError)
    assert caught.value.status is None


async def test_borrowed_session_lends_connector_and_proxy(server: FakeSchedules) -> None:
    """Its cookies, default headers and `raise_for_status` are not used, and it stays open."""
    lines: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines.extend((await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n"))
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 23\r\n\r\n{"access_token": "t-1"}')
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listening:
        proxy = f"http://user:word@127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        async with aiohttp.ClientSession(proxy=proxy, headers={"X-Own": "1"}, cookies={"a": "b"}) as http:
            assert await server.credentials(http=http).get_token() == "t-1"
            assert not http.closed
            assert http.connector is not None
            assert not http.connector.closed
    assert lines[0] == f"POST {server.token_url} HTTP/1.1"
    assert f"Proxy-Authorization: Basic {base64.b64encode(b'user:word').decode()}" in lines
    assert not any(line.startswith(("X-Own", "Cookie")) for line in lines)
    assert server.token_requests == []


async def test_closed_borrowed_session_is_asked_once(server: FakeSchedules, clock: FakeClock) -> None:
    http = aiohttp.ClientSession()
    credentials = server.credentials(http=http)
    await http.close()
    with pytest.raises(AuthenticationError, match="the borrowed http session is closed"):
        await credentials.get_token()
    assert clock.pauses == []
    with pytest.raises(ValueError, match="the borrowed http session is closed"):
        server.credentials(http=http)


# One request


async def test_many_callers_share_one_token_request(server: FakeSchedules, credentials: ClientCredentials) -> None:
    tokens = await asyncio.gather(*(credentials.get_token() for _ in range(100)))
    assert set(tokens) == {"test-token-1"}
    assert await credentials.get_token() == "test-token-1"
    assert len(server.token_requests) == 1


@pytest.mark.parametrize("left", [1, 9])
async def test_cancelled_first_callers_strand_nobody(
    server: FakeSchedules, credentials: ClientCredentials, left: int
) -> None:
    """Nor does it cost the others a second request."""
    tasks = [asyncio.create_task(credentials.get_token()) for _ in range(10)]
    await until(lambda: bool(server.token_requests))
    for task in tasks[:left]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results[left:] == ["test-token-1"] * (10 - left)
    assert len(server.token_requests) == 1


async def test_sessions_share_credentials_leaving_nothing(
    server: FakeSchedules, credentials: ClientCredentials
) -> None:
    before = own_tasks()
    server.interrupt_tokens(stall())
    async with server.session(auth=credentials) as first:
        call = asyncio.create_task(first.get_operation(*server.script_operation(DONE)))
        await until(lambda: bool(server.token_requests))
    assert own_tasks() - {call} == before
    with pytest.raises(SessionClosedError):
        await call
    await until(lambda: server.open_connections == 0)
    async with server.session(auth=credentials) as one, server.session(auth=credentials) as other:
        for session in (one, other, one):
            assert (await session.get_operation(*server.script_operation(DONE))).is_succeeded
    assert len(server.token_requests) == 2
    await until(lambda: server.open_connections == 0)


def test_credentials_serve_another_event_loop() -> None:
    credentials: list[ClientCredentials] = []

    async def statuses() -> list[int | None]:
        async with FakeSchedules(port=0) as server:
            if not credentials:
                credentials.append(server.credentials())
            else:
                server.token = "test-token-1"
            async with server.session(auth=credentials[0], clock=None) as session:
                await session.get_operation(*server.script_operation(DONE))
            return [request.status for request in server.token_requests]

    assert [asyncio.run(statuses()), asyncio.run(statuses())] == [[200], []]


async def cancel_renewals(server: FakeSchedules, spared: set[asyncio.Task[Any]], most: int = 3) -> None:
    """Cancel each renewal, but no caller, as soon as its request has come."""
    for number in range(len(server.token_requests), len(server.token_requests) + most):
        await until(partial(has_come, server, number + 1))
        for task in own_tasks() - spared - {asyncio.current_task()}:
            task.cancel()


async def test_renewals_cancelled_from_outside_are_no_cancellation(
    server: FakeSchedules, clock: FakeClock, credentials: ClientCredentials
) -> None:
    """Somebody cancels tasks of the loop that are not his: a caller that was spared gets an error, or its token."""
    before = own_tasks()
    server.interrupt_tokens(*[stall()] * 3)
    call = asyncio.create_task(credentials.get_token())
    await cancel_renewals(server, before | {call})
    with pytest.raises(AuthenticationError, match="no token could be obtained: the request was cancelled"):
        await call
    good = await credentials.get_token()
    await clock.sleep(3240)
    server.interrupt_tokens(*[stall()] * 3)
    call = asyncio.create_task(credentials.get_token())
    await cancel_renewals(server, before | {call})
    assert await call == good


# Renewal


@pytest.mark.parametrize(("life", "age"), [(3600, 3240), (100, 50)])
async def test_token_is_renewed_before_its_end(
    server: FakeSchedules, clock: FakeClock, credentials: ClientCredentials, life: float, age: float
) -> None:
    server.token_life = life
    await credentials.get_token()
    await clock.sleep(age - 1)
    assert await credentials.get_token() == "test-token-1"
    await clock.sleep(1)
    tokens = await asyncio.gather(*(credentials.get_token() for _ in range(20)))
    assert set(tokens) == {"test-token-2"}
    assert [request.time for request in server.token_requests] == [0, age]


async def test_expiry_costs_no_request_a_401(server: FakeSchedules, make_session: MakeSession) -> None:
    session = make_session(auth=server.credentials())
    server.token_life = 20
    assert (await session.wait_for_operation(*server.start_operation(duration=100))).is_succeeded
    assert {request.status for request in server.requests} <= {200, 304}
    assert 8 < len(server.token_requests) < 12


async def test_many_rejections_of_one_token_renew_it_once(
    server: FakeSchedules, credentials: ClientCredentials
) -> None:
    old = await credentials.get_token()
    asked = [credentials.get_token(rejected=old) for _ in range(50)] + [credentials.get_token() for _ in range(50)]
    assert set(await asyncio.gather(*asked)) == {"test-token-2"}
    assert await credentials.get_token(rejected=old) == "test-token-2"
    assert await credentials.get_token(rejected="never issued") == "test-token-2"
    assert len(server.token_requests) == 2


async def test_401_of_many_requests_renews_once(server: FakeSchedules, make_session: MakeSession) -> None:
    credentials = server.credentials()
    sessions = [make_session(auth=credentials) for _ in range(2)]
    refs = [server.script_operation(DONE) for _ in range(30)]
    server.reject_token(await credentials.get_token())
    calls = [session.get_operation(*ref) for session in sessions for ref in refs]
    assert all(operation.is_succeeded for operation in await asyncio.gather(*calls))
    assert len(server.token_requests) == 2


async def test_same_token_again_is_not_renewed(
    server: FakeSchedules, clock: FakeClock, make_session: MakeSession
) -> None:
    """An identity server that keeps its tokens: the 401 is raised, and nothing storms."""
    server.interrupt_tokens(*[grant("kept")] * 10)
    session = make_session(auth=server.credentials())
    refs = [server.script_operation(DONE) for _ in range(40)]
    calls = [session.get_operation(*ref) for ref in refs]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [getattr(result, "status", None) for result in results] == [401] * 40
    assert len(server.token_requests) == 2
    await clock.sleep(31)
    with pytest.raises(AuthenticationError):
        await session.get_operation(*refs[0])
    assert len(server.token_requests) == 3


@pytest.mark.parametrize("expires_in", [None, "3600", "soon", 0, -1, math.nan, math.inf, 10**400], ids=repr)
async def test_meaningless_life_causes_no_token_storm(
    server: FakeSchedules, clock: FakeClock, credentials: ClientCredentials, expires_in: object
) -> None:
    server.interrupt_tokens(*[grant("odd", expires_in)] * 10)
    for _ in range(20):
        assert await credentials.get_token() == "odd"
        await clock.sleep(5)
    assert len(server.token_requests) == 1


async def test_very_short_life_causes_no_token_storm(
    server: FakeSchedules, clock: FakeClock, credentials: ClientCredentials
) -> None:
    server.token_life = 1e-9
    for _ in range(40):
        await credentials.get_token()
        await clock.sleep(0.1)
    assert len(server.token_requests) <= 9


# An identity server that fails


@pytest.mark.parametrize(
    ("answer", "requests"),
    [
        (reset(), 3),
        (cut_body(), 3),
        (raw(b""), 3),
        (raw(b"not HTTP"), 3),
        (fault(500), 3),
        (fault(503, retry_after=1), 3),
        (fault(503, retry_after=600), 1),
        (throttled(None), 3),
        (throttled(3), 3),
        (throttled(600), 1),
        (oauth_error("invalid_client"), 1),
        (oauth_error(SECRET), 1),
        (Answer(401, SECRET.encode()), 1),
        (Answer(418), 1),
        (Answer(200, b"<html>" + SECRET.encode()), 1),
        (grant(SECRET, token_type="mac"), 1),
        (grant(f"{SECRET} "), 1),
        (Answer(204), 1),
    ],
)
async def test_failing_identity_server_is_an_authentication_error(
    server: FakeSchedules, clock: FakeClock, make_session: MakeSession, answer: Answer, requests: int
) -> None:
    server.interrupt_tokens(*[answer] * 4)
    session = make_session(auth=server.credentials())
    ref = server.script_operation(DONE)
    with pytest.raises(AuthenticationError, match=r"no token could be obtained from 127\.0\.0\.1: .") as caught:
        await session.get_operation(*ref)
    assert (len(server.token_requests), server.requests) == (requests, [])
    assert (caught.value.status, caught.value.ref) == (None, ref)
    assert caught.value.__cause__ is not None
    assert SECRET not in f"{caught.value!r} {vars(caught.value)} {caught.value.__cause__!r}"
    assert clock.monotonic() <= 10


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nBad Header: @\r\n\r\n",
        b"HTTP/1.1 2OO @\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: @\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n@\r\n",
        b"HTTP/1.1 400 @\r\nWWW-Authenticate: @\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 @\r\nLocation: https://@/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: @\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 37\r\n\r\n{@}",
        b"@\r\n\r\n",
    ],
)
async def test_identity_servers_bytes_are_never_shown(
    server: FakeSchedules, credentials: ClientCredentials, caplog: pytest.LogCaptureFixture, answer: bytes
) -> None:
    """Not in a text, a traceback, the variables of its frames, or a log: it may repeat what it was sent."""
    server.interrupt_tokens(*[raw(answer.replace(b"@", SECRET.encode()))] * 4)
    with caplog.at_level("DEBUG"), pytest.raises(AuthenticationError) as caught:
        await credentials.get_token()
    frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    shown = f"{caught.value!r} {vars(caught.value)} {caught.value.__cause__!r} {caplog.text}" + "".join(frames.format())
    assert "no token could be obtained from 127.0.0.1" in shown
    assert SECRET not in shown


async def test_each_caller_gets_its_own_error(server: FakeSchedules, credentials: ClientCredentials) -> None:
    server.interrupt_tokens(oauth_error("invalid_client"))
    results = await asyncio.gather(*(credentials.get_token() for _ in range(5)), return_exceptions=True)
    assert {str(result) for result in results} == {"no token could be obtained from 127.0.0.1: 400 invalid_client"}
    assert len({id(result) for result in results}) == 5
    assert len(server.token_requests) == 1
    assert await credentials.get_token() == "test-token-1"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_is_not_followed(server: FakeSchedules, credentials: ClientCredentials, status: int) -> None:
    server.interrupt_tokens(Answer(status, b"", {"Location": server.token_url + "?elsewhere"}))
    with pytest.raises(AuthenticationError, match=str(status)):
        await credentials.get_token()
    assert [request.path for request in server.token_requests] == ["/connect/token"]


@pytest.mark.parametrize("status", [200, 400])
async def test_body_over_the_bound_is_never_held(
    server: FakeSchedules, credentials: ClientCredentials, status: int
) -> None:
    body = b'{"access_token": "big", "error": "invalid_client"' + b" " * LARGEST_BODY + b"}"
    server.interrupt_tokens(Answer(status, body), Answer(200, body[: LARGEST_BODY // 2] + b"}"))
    with pytest.raises(AuthenticationError, match="larger than" if status == 200 else "400 Bad Request$"):
        await credentials.get_token()
    assert await credentials.get_token() == "big"


async def test_endless_body_takes_no_memory() -> None:
    async def pour(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"x" * 65536)
            await asyncio.sleep(0)

    async with await asyncio.start_server(pour, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        tracemalloc.start()
        try:
            with pytest.raises(AuthenticationError, match="larger than"):
                await ClientCredentials("id", SECRET, token_url=f"http://127.0.0.1:{port}/").get_token()
            assert tracemalloc.get_traced_memory()[1] < 16_000_000
        finally:
            tracemalloc.stop()


async def test_good_token_serves_while_renewals_fail(
    server: FakeSchedules, clock: FakeClock, credentials: ClientCredentials
) -> None:
    """Attempts to renew it are rare; without a good token their error is raised."""
    assert await credentials.get_token() == "test-token-1"
    server.interrupt_tokens(*[fault(500)] * 1000)
    await clock.sleep(3240)
    for _ in range(70):
        assert await credentials.get_token() == "test-token-1"
        await clock.sleep(5)
    assert len(server.token_requests) <= 1 + 3 * 12
    await clock.sleep(10)
    with pytest.raises(AuthenticationError, match="500"):
        await credentials.get_token()


async def test_failed_renewal_concerns_the_rejected_caller_alone(
    server: FakeSchedules, credentials: ClientCredentials
) -> None:
    """The others go on with the token, and it is renewed later."""
    old = await credentials.get_token()
    server.interrupt_tokens(oauth_error("invalid_client"))
    with pytest.raises(AuthenticationError, match="invalid_client"):
        await credentials.get_token(rejected=old)
    assert await credentials.get_token() == old
    assert await credentials.get_token(rejected=old) == "test-token-2"


async def test_identity_servers_retry_after_is_respected(
    server: FakeSchedules, clock: FakeClock, credentials: ClientCredentials
) -> None:
    """Until then every caller gets the error of that answer."""
    server.interrupt_tokens(throttled(60))
    for _ in range(6):
        with pytest.raises(AuthenticationError, match="Retry-After: 60 s") as caught:
            await credentials.get_token()
        assert caught.value.retry_after == 60
        await clock.sleep(10)
    assert await credentials.get_token() == "test-token-1"
    assert [request.time for request in server.token_requests] == [0, 60]


async def test_untrusted_certificate_is_not_retried() -> None:
    connections = []

    async def count(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    async with await asyncio.start_server(count, "127.0.0.1", 0, ssl=context) as listening:
        url = f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}/token"
        with pytest.raises(AuthenticationError) as caught:
            await ClientCredentials("id", SECRET, token_url=url).get_token()
    assert isinstance(caught.value.__cause__, TransportError)
    assert not caught.value.__cause__.is_transient
    assert connections == []


# An identity server that hangs: the event loop's own time is put forward


def play(use: Callable[[FakeSchedules, ClientCredentials, HastyLoop], Coroutine[Any, Any, None]]) -> None:
    loop = HastyLoop()

    async def begin() -> None:
        async with FakeSchedules(clock=FakeClock()) as server:
            await use(server, server.credentials(), loop)
            await until(lambda: server.open_connections == 0)
            await turns(20)
            assert asyncio.all_tasks() == {asyncio.current_task()}

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(begin())


def test_hanging_identity_server_gets_three_attempts() -> None:
    async def use(server: FakeSchedules, credentials: ClientCredentials, loop: HastyLoop) -> None:
        server.interrupt_tokens(*[stall()] * 4)
        call = asyncio.create_task(credentials.get_token())
        for number in (1, 2, 3):
            await until(partial(has_come, server, number))
            assert not call.done()
            loop.ahead += ATTEMPT_TIMEOUT
        with pytest.raises(AuthenticationError, match="no complete answer in time"):
            await call
        assert len(server.token_requests) == 3

    play(use)


def test_good_token_serves_while_its_renewal_hangs() -> None:
    """No caller waits long, and the renewal itself goes on without them, to its next attempt."""

    async def use(server: FakeSchedules, credentials: ClientCredentials, loop: HastyLoop) -> None:
        assert await credentials.get_token() == "test-token-1"
        await server.clock.sleep(3240)
        server.interrupt_tokens(stall())
        calls = [asyncio.create_task(credentials.get_token()) for _ in range(5)]
        await until(lambda: len(server.token_requests) == 2)
        loop.ahead += 2
        assert await asyncio.gather(*calls) == ["test-token-1"] * 5
        assert await credentials.get_token() == "test-token-1"
        assert len(server.token_requests) == 2
        loop.ahead += ATTEMPT_TIMEOUT - 2
        await until(lambda: len(server.token_requests) == 3)
        await turns(50)
        assert await credentials.get_token() == "test-token-2"
        assert len(server.token_requests) == 3

    play(use)


def test_renewal_without_callers_ends_on_close() -> None:
    async def use(server: FakeSchedules, credentials: ClientCredentials, loop: HastyLoop) -> None:
        await credentials.get_token()
        await server.clock.sleep(3240)
        server.interrupt_tokens(stall())
        call = asyncio.create_task(credentials.get_token())
        await until(lambda: len(server.token_requests) == 2)
        loop.ahead += 2
        assert await call == "test-token-1"
        assert credentials.in_flight == 1
        await credentials.aclose_idle()
        assert credentials.in_flight == 0
        await server.clock.sleep(30)
        assert await credentials.get_token() == "test-token-2"

    play(use)


def test_dripping_answer_is_a_hanging_attempt() -> None:
    async def use(server: FakeSchedules, credentials: ClientCredentials, loop: HastyLoop) -> None:
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"
        server.interrupt_tokens(raw(head, close=False))
        call = asyncio.create_task(credentials.get_token())
        await until(lambda: len(server.token_requests) == 1)
        await turns(50)
        loop.ahead += ATTEMPT_TIMEOUT
        assert await call == "test-token-1"

    play(use)
