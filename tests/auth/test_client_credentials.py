"""Client credentials: one request however many wait, renewed early, and a bounded end where there is no token."""

import asyncio
import base64
import copy
import itertools
import math
import pickle
import ssl
import tracemalloc
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import pytest
import trustme
from event_loops import HastyLoop, turns
from sessions import MakeSession

from schedules_async import AuthenticationError, ClientCredentials, SessionClosedError, TokenProvider, TransportError
from schedules_async._auth.client_credentials import LONGEST_ATTEMPT
from schedules_async._http.body import LARGEST_BODY
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


def refusal(code: str) -> Answer:
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
        ({"token_url": "http://ims.example.com/token"}, ValueError, "https"),
        ({"token_url": "https://user:word@ims.example.com/token"}, ValueError, "credentials"),
        ({"token_url": "/connect/token"}, ValueError, "absolute"),
        ({"token_url": 5}, TypeError, "token_url"),
    ],
)
def test_what_cannot_work_is_refused_at_once(options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text) as caught:
        ClientCredentials(**{"client_id": "id", "client_secret": SECRET, **options})
    assert "canary" not in repr(caught.value)
    assert "word" not in str(caught.value)


def test_it_shows_no_secret_and_is_never_pickled_or_copied() -> None:
    credentials = ClientCredentials("service-id", SECRET)
    assert repr(credentials) == "<ClientCredentials service-id at https://qa-ims.bentley.com/connect/token>"
    for make in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="pickled or copied"):
            make(credentials)
    assert isinstance(credentials, TokenProvider)


async def test_the_request_is_the_standards() -> None:
    """RFC 6749 sections 2.3.1 and 4.4.2: both halves form-encoded before they are encoded."""
    heard: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append((await reader.readuntil(b"\r\n\r\n")).decode())
        heard.append((await reader.readuntil(b"two")).decode())
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 23\r\n\r\n{"access_token": "t-1"}')
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listening:
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/token?tenant=x"
        credentials = ClientCredentials("a:b", "c d+%", token_url=url, scope="one two")
        assert await credentials.get_token() == "t-1"
    lines = heard[0].split("\r\n")
    pair = base64.b64encode(b"a%3Ab:c+d%2B%25").decode()
    assert lines[0] == "POST /token?tenant=x HTTP/1.1"
    assert {f"Authorization: Basic {pair}", "Accept: application/json"} <= set(lines)
    assert "Content-Type: application/x-www-form-urlencoded" in lines
    assert "cookie" not in heard[0].lower()
    assert heard[1] == "grant_type=client_credentials&scope=one+two"


# One request


async def test_it_is_asked_for_once_however_many_wait(server: FakeSchedules, credentials: ClientCredentials) -> None:
    tokens = await asyncio.gather(*(credentials.get_token() for _ in range(100)))
    assert set(tokens) == {"test-token-1"}
    assert await credentials.get_token() == "test-token-1"
    assert len(server.token_requests) == 1


@pytest.mark.parametrize("left", [1, 9])
async def test_cancelling_the_one_that_asks_strands_nobody_and_costs_nothing(
    server: FakeSchedules, credentials: ClientCredentials, left: int
) -> None:
    tasks = [asyncio.create_task(credentials.get_token()) for _ in range(10)]
    await until(lambda: bool(server.token_requests))
    for task in tasks[:left]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results[left:] == ["test-token-1"] * (10 - left)
    assert len(server.token_requests) == 1


async def test_sessions_share_it_and_leave_nothing(server: FakeSchedules, credentials: ClientCredentials) -> None:
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


def test_another_event_loop_may_use_it() -> None:
    credentials: list[ClientCredentials] = []

    async def look() -> list[int | None]:
        async with FakeSchedules(port=0) as server:
            if not credentials:
                credentials.append(server.credentials())
            else:
                server.token = "test-token-1"
            async with server.session(auth=credentials[0], clock=None) as session:
                await session.get_operation(*server.script_operation(DONE))
            return [request.status for request in server.token_requests]

    assert [asyncio.run(look()), asyncio.run(look())] == [[200], []]


# Renewal


@pytest.mark.parametrize(("life", "age"), [(3600, 3240), (100, 50)])
async def test_it_is_renewed_before_it_ends(
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


async def test_no_request_meets_a_401_because_of_the_time(server: FakeSchedules, make_session: MakeSession) -> None:
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
    assert await credentials.get_token(rejected="never seen") == "test-token-2"
    assert len(server.token_requests) == 2


async def test_a_401_of_many_looks_renews_once(server: FakeSchedules, make_session: MakeSession) -> None:
    credentials = server.credentials()
    sessions = [make_session(auth=credentials) for _ in range(2)]
    refs = [server.script_operation(DONE) for _ in range(30)]
    server.reject_token(await credentials.get_token())
    calls = [session.get_operation(*ref) for session in sessions for ref in refs]
    assert all(operation.is_succeeded for operation in await asyncio.gather(*calls))
    assert len(server.token_requests) == 2


async def test_the_same_token_again_is_no_reason_to_ask_again(
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
async def test_a_life_that_means_nothing_neither_crashes_nor_storms(
    server: FakeSchedules, clock: FakeClock, credentials: ClientCredentials, expires_in: object
) -> None:
    server.interrupt_tokens(*[grant("odd", expires_in)] * 10)
    for _ in range(20):
        assert await credentials.get_token() == "odd"
        await clock.sleep(5)
    assert len(server.token_requests) == 1


async def test_a_very_short_life_is_no_storm_either(
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
        (refusal("invalid_client"), 1),
        (refusal(SECRET), 1),
        (Answer(401, SECRET.encode()), 1),
        (Answer(418), 1),
        (Answer(200, b"<html>" + SECRET.encode()), 1),
        (grant(SECRET, token_type="mac"), 1),
        (grant(f"{SECRET} "), 1),
        (Answer(204), 1),
    ],
)
async def test_a_failing_identity_server_is_an_authentication_error(
    server: FakeSchedules, clock: FakeClock, make_session: MakeSession, answer: Answer, requests: int
) -> None:
    server.interrupt_tokens(*[answer] * 4)
    session = make_session(auth=server.credentials())
    ref = server.script_operation(DONE)
    with pytest.raises(AuthenticationError, match=r"no token could be had from 127\.0\.0\.1: .") as caught:
        await session.get_operation(*ref)
    assert (len(server.token_requests), server.requests) == (requests, [])
    assert (caught.value.status, caught.value.ref) == (None, ref)
    assert caught.value.__cause__ is not None
    assert SECRET not in f"{caught.value!r} {vars(caught.value)} {caught.value.__cause__!r}"
    assert clock.monotonic() <= 10


async def test_each_who_waited_gets_an_error_of_his_own(server: FakeSchedules, credentials: ClientCredentials) -> None:
    server.interrupt_tokens(refusal("invalid_client"))
    results = await asyncio.gather(*(credentials.get_token() for _ in range(5)), return_exceptions=True)
    assert {str(result) for result in results} == {"no token could be had from 127.0.0.1: 400 invalid_client"}
    assert len({id(result) for result in results}) == 5
    assert len(server.token_requests) == 1
    assert await credentials.get_token() == "test-token-1"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(server: FakeSchedules, credentials: ClientCredentials, status: int) -> None:
    server.interrupt_tokens(Answer(status, b"", {"Location": server.token_url + "?elsewhere"}))
    with pytest.raises(AuthenticationError, match=str(status)):
        await credentials.get_token()
    assert [request.path for request in server.token_requests] == ["/connect/token"]


@pytest.mark.parametrize("status", [200, 400])
async def test_a_body_over_the_bound_is_never_held(
    server: FakeSchedules, credentials: ClientCredentials, status: int
) -> None:
    body = b'{"access_token": "big", "error": "invalid_client"' + b" " * LARGEST_BODY + b"}"
    server.interrupt_tokens(Answer(status, body), Answer(200, body[: LARGEST_BODY // 2] + b"}"))
    with pytest.raises(AuthenticationError, match="larger than" if status == 200 else "400$"):
        await credentials.get_token()
    assert await credentials.get_token() == "big"


async def test_a_body_without_an_end_takes_no_memory() -> None:
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


async def test_a_good_token_goes_on_being_used_while_renewals_fail(
    server: FakeSchedules, clock: FakeClock, credentials: ClientCredentials
) -> None:
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


async def test_a_rejected_token_that_cannot_be_renewed_is_an_error_to_who_met_the_401_alone(
    server: FakeSchedules, credentials: ClientCredentials
) -> None:
    old = await credentials.get_token()
    server.interrupt_tokens(refusal("invalid_client"))
    with pytest.raises(AuthenticationError, match="invalid_client"):
        await credentials.get_token(rejected=old)
    assert await credentials.get_token() == old
    assert await credentials.get_token(rejected=old) == "test-token-2"


async def test_an_identity_server_that_names_a_time_is_left_alone_until_then(
    server: FakeSchedules, clock: FakeClock, credentials: ClientCredentials
) -> None:
    server.interrupt_tokens(throttled(60))
    for _ in range(6):
        with pytest.raises(AuthenticationError, match="Retry-After: 60 s") as caught:
            await credentials.get_token()
        assert caught.value.retry_after == 60
        await clock.sleep(10)
    assert await credentials.get_token() == "test-token-1"
    assert [request.time for request in server.token_requests] == [0, 60]


async def test_an_untrusted_certificate_is_not_asked_again() -> None:
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
    assert caught.value.__cause__.is_certificate_failure
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


def test_hanging_it_ends_after_three_attempts() -> None:
    async def use(server: FakeSchedules, credentials: ClientCredentials, loop: HastyLoop) -> None:
        server.interrupt_tokens(*[stall()] * 4)
        call = asyncio.create_task(credentials.get_token())
        for number in (1, 2, 3):
            await until(partial(has_come, server, number))
            assert not call.done()
            loop.ahead += LONGEST_ATTEMPT
        with pytest.raises(AuthenticationError, match="TimeoutError"):
            await call
        assert len(server.token_requests) == 3

    play(use)


def test_while_it_hangs_a_good_token_goes_on_being_used() -> None:
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
        await server.clock.sleep(30)
        assert await credentials.get_token() == "test-token-2"

    play(use)


def test_a_dripping_answer_is_an_attempt_that_hangs() -> None:
    async def use(server: FakeSchedules, credentials: ClientCredentials, loop: HastyLoop) -> None:
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"
        server.interrupt_tokens(raw(head, close=False))
        call = asyncio.create_task(credentials.get_token())
        await until(lambda: len(server.token_requests) == 1)
        await turns(50)
        loop.ahead += LONGEST_ATTEMPT
        assert await call == "test-token-1"

    play(use)
