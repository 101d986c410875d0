"""The transport: an answer, or a TransportError, whatever the server does."""

import asyncio
import gzip
import math
import ssl
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
from environment import environment
from event_loops import HastyLoop, turns
from leaks import render, shows_secret
from raw_servers import serve
from sessions import MakeSession, traced_session

from schedules_async import (
    AuthenticationError,
    ClientCredentials,
    MalformedResponseError,
    OperationRef,
    RateLimit,
    ResponseError,
    RetryPolicy,
    SchedulesError,
    SchedulesSession,
    ServerError,
    SessionClosedError,
    TransportError,
)
from schedules_async._http.body import LARGEST_BODY
from schedules_async._http.responses import BearerToken
from schedules_async._http.transport import Transport
from schedules_async.testing import Answer, FakeClock, FakeSchedules, cut_body, operation_answer, raw, reset, stall

REF = OperationRef("schedule", "operation")
ONCE = RetryPolicy(attempts=1)
BODY = operation_answer("Started", percent_complete=10).body.replace(b"{operation_id}", b"operation")


@pytest.fixture
def once(make_session: MakeSession) -> SchedulesSession:
    return make_session(retry=ONCE)


def script(server: FakeSchedules, *answers: Answer) -> OperationRef:
    return server.script_operation(*answers, schedule_id=REF.schedule_id, operation_id=REF.operation_id)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (reset(), TransportError),
        (cut_body(), TransportError),
        (raw(b""), TransportError),
        (raw(b"\x16\x03\x01 not HTTP"), TransportError),
        (raw(b"HTTP/1.1 two hundred\r\n\r\n"), TransportError),
        (raw(b"HTTP/1.1 200 OK\r\nETag: " + b"x" * 100_000 + b"\r\n\r\n"), TransportError),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{}"), TransportError),
        (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), TransportError),
        (raw(b"HTTP/1.1 500 Oops\r\nContent-Length: 99\r\n\r\ncut"), TransportError),
        (raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"), SchedulesError),
        (raw(b"HTTP/1.1 204 No Content\r\n\r\n"), MalformedResponseError),
        (raw(b"HTTP/1.1 206 Partial\r\nContent-Length: 2\r\n\r\n{}"), MalformedResponseError),
        (raw(b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n"), ServerError),
        (Answer(200, b"<html>"), MalformedResponseError),
        (Answer(200, BODY, {"Content-Encoding": "br"}), MalformedResponseError),
        (Answer(200, BODY, {"Content-Encoding": "gzip"}), MalformedResponseError),
        (Answer(200, gzip.compress(BODY)[:-4], {"Content-Encoding": "gzip"}), MalformedResponseError),
        (Answer(200, gzip.compress(BODY) + b"more", {"Content-Encoding": "gzip"}), MalformedResponseError),
        (Answer(200, gzip.compress(BODY), {"Content-Encoding": "gzip, gzip"}), MalformedResponseError),
        (Answer(200, b" " * (LARGEST_BODY + 1)), MalformedResponseError),
        (Answer(502, b" " * (LARGEST_BODY + 1)), ServerError),
        (Answer(200, b"[" + b"{}," * 20_000 + b"{}]"), MalformedResponseError),
        (Answer(418, b"\xff", {"Content-Encoding": "br"}), ResponseError),
    ],
)
async def test_bad_answer_raises_typed_error(
    once: SchedulesSession, server: FakeSchedules, answer: Answer, error: type[SchedulesError]
) -> None:
    """After each of them the session works as before."""
    ref = script(server, answer, operation_answer("Succeeded"))
    with pytest.raises(error) as caught:
        await once.get_operation(*ref)
    assert caught.value.ref == ref
    assert str(caught.value)
    assert (await once.get_operation(*ref)).is_succeeded
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("identity", BODY),
        ("GZIP", gzip.compress(BODY)),
        ("x-gzip", gzip.compress(BODY)),
        ("deflate", zlib.compress(BODY)),
        ("deflate", zlib.compress(BODY, wbits=-15)),
    ],
)
async def test_encoded_body_is_decoded(
    once: SchedulesSession, server: FakeSchedules, encoding: str, body: bytes
) -> None:
    ref = script(server, Answer(200, body, {"Content-Encoding": encoding}))
    assert (await once.get_operation(*ref)).percent_complete == 10


async def test_empty_error_body_may_claim_any_encoding(once: SchedulesSession, server: FakeSchedules) -> None:
    with pytest.raises(ServerError) as caught:
        await once.get_operation(*script(server, Answer(500, b"", {"Content-Encoding": "gzip"})))
    assert caught.value.code is None


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_compressed_bomb_takes_no_memory(once: SchedulesSession, server: FakeSchedules, encoding: str) -> None:
    compress = gzip.compress if encoding == "gzip" else zlib.compress
    bomb = compress(bytes(20_000_000), 9)
    ref = script(server, Answer(200, bomb, {"Content-Encoding": encoding}))
    tracemalloc.start()
    try:
        with pytest.raises(MalformedResponseError, match="larger"):
            await once.get_operation(*ref)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


async def test_bomb_that_never_ends_is_malformed() -> None:
    """The answer is refused once it is too large, before its end."""

    async def send(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        bomb = gzip.compress(bytes(3_000_000), 9)
        head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
        writer.write(head + f"{len(bomb):x}\r\n".encode() + bomb + b"\r\n")
        await writer.wait_closed()

    async with serve(send) as url, SchedulesSession("token", base_url=url) as session:
        with pytest.raises(MalformedResponseError, match="larger"):
            await session.get_operation("s", "o")
        assert session.stats.requests == 1


async def flood_with_informational_answers(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while not writer.is_closing():
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await asyncio.sleep(0)


async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"1\r\n \r\n")
        await asyncio.sleep(0.01)


async def stay_silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


@pytest.mark.parametrize("talk", [flood_with_informational_answers, drip, stay_silent])
async def test_attempt_ends_within_request_timeout(
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> None:
    async with (
        serve(talk) as url,
        SchedulesSession("token", base_url=url, request_timeout=0.2, retry=RetryPolicy(attempts=2, base=0)) as session,
    ):
        with pytest.raises(TransportError, match=r"within 0\.2 s"):
            await session.get_operation(*REF)
        assert session.stats.requests == 2


async def test_endless_body_is_given_up(clock: FakeClock) -> None:
    async def pour(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"x" * 65536)
            await asyncio.sleep(0)

    async with serve(pour) as url, SchedulesSession("token", base_url=url, clock=clock) as session:
        with pytest.raises(MalformedResponseError, match="larger"):
            await session.get_operation(*REF)


async def test_error_with_too_many_values_has_no_facts(once: SchedulesSession, server: FakeSchedules) -> None:
    details = ",".join(["{}"] * 20_000)
    body = f'{{"error": {{"code": "Gone", "details": [{details}]}}}}'.encode()
    with pytest.raises(ServerError) as caught:
        await once.get_operation(*script(server, Answer(500, body)))
    assert (caught.value.code, caught.value.details) == (None, ())


async def test_long_text_counts_as_one_value(once: SchedulesSession, server: FakeSchedules) -> None:
    reason = "Task failed, and so did the next one. " * 20_000
    answer = operation_answer("Failed", failure_description=reason)
    assert (await once.get_operation(*script(server, answer))).failure_description == reason


async def test_compressed_body_may_come_in_pieces(clock: FakeClock) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = gzip.compress(BODY)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body))
        for byte in body:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.001)

    async with serve(answer) as url, SchedulesSession("token", base_url=url, clock=clock) as session:
        assert (await session.get_operation(*REF)).percent_complete == 10


async def test_two_etag_fields_count_as_none(once: SchedulesSession, server: FakeSchedules) -> None:
    twice = Answer(200, BODY, [("ETag", '"a"'), ("ETag", '"b"')])
    ref = script(server, twice, operation_answer("Succeeded"))
    with suppress(TransportError):  # aiohttp's strict parser, in development mode, rejects them
        await once.get_operation(*ref)
    await once.get_operation(*ref)
    assert [request.if_none_match for request in server.requests] == [None, None]


def test_concurrent_attempts_have_their_own_timeouts() -> None:
    async def call_every_ten_seconds(loop: HastyLoop) -> None:
        async with (
            FakeSchedules() as server,
            SchedulesSession(
                server.token, base_url=server.url, request_timeout=60, retry=ONCE, rate_limits=()
            ) as session,
        ):
            calls = []
            for count in range(1, 5):
                calls.append(asyncio.create_task(session.get_operation(*server.script_operation(stall()))))
                while len(server.requests) < count:
                    await turns(1)
                loop.ahead += 10
            assert (await session.get_operation(*server.script_operation(operation_answer("Succeeded")))).is_succeeded
            loop.ahead += 15
            while calls:
                assert not any(call.done() for call in calls)
                loop.ahead += 10
                with pytest.raises(TransportError, match="within 60 s"):
                    await calls.pop(0)

    loop = HastyLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(call_every_ten_seconds(loop))


async def test_request_timeout_may_be_infinite(server: FakeSchedules) -> None:
    async with SchedulesSession(server.token, base_url=server.url, request_timeout=math.inf) as session:
        ref = server.script_operation(operation_answer("Succeeded"))
        assert (await session.get_operation(*ref)).is_succeeded


async def test_refused_connection_raises_transport_error(clock: FakeClock) -> None:
    async with SchedulesSession("token", base_url="http://127.0.0.1:1", clock=clock) as session:
        with pytest.raises(TransportError) as caught:
            await session.get_operation(*REF)
        assert session.stats.retried == 4
        assert caught.value.is_transient
        assert str(caught.value) == "cannot reach 127.0.0.1:1: connection refused (5 attempts)"
        assert isinstance(caught.value.__cause__, aiohttp.ClientConnectorError)


@pytest.mark.parametrize(
    ("base_url", "status", "phrase", "attempts"),
    [
        ("https://api.example", 407, "Proxy Authentication Required", 1),
        ("https://api.example", 502, "Bad Gateway", 5),
        ("http://127.0.0.2:80", 407, "Proxy Authentication Required", 1),
    ],
)
async def test_answer_of_proxy_is_no_response_error(
    clock: FakeClock, base_url: str, status: int, phrase: str, attempts: int
) -> None:
    """Of a wait too, which retries it only where the service's own answer would be retried."""

    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 %d word\r\nContent-Length: 4\r\nConnection: close\r\n\r\nword" % status)
        writer.close()

    address = base_url.partition("://")[2] + ":443" * base_url.startswith("https")
    async with (
        serve(refuse) as proxy,
        aiohttp.ClientSession(proxy=proxy.replace("//", "//user:word@")) as http,
        SchedulesSession(
            "token", base_url=base_url, http=http, clock=clock, retry=RetryPolicy(max_outage=0)
        ) as session,
    ):
        with pytest.raises(TransportError) as caught:
            await session.wait_for_operation(REF)
        count = f" ({attempts} attempts)" * (attempts > 1)
        text = f"cannot reach {address}: the proxy {proxy.removeprefix('http://')} answered {status} {phrase}{count}"
        assert str(caught.value) == text
        assert session.stats.requests == attempts


async def test_proxy_of_environment_counts_only_with_trust_env(server: FakeSchedules, tmp_path: Path) -> None:
    """And ~/.netrc, which aiohttp reads with it, never stands in for the token."""
    lines: list[str] = []

    async def answer_as_proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines.append("proxied")
        writer.write(b"HTTP/1.1 418 Proxy\r\nContent-Length: 0\r\n\r\n")
        await reader.read()

    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password secret", encoding="utf-8")
    ref = server.script_operation(operation_answer("Succeeded"))
    async with serve(answer_as_proxy) as proxy, aiohttp.ClientSession(trust_env=True) as http:
        with environment(http_proxy=proxy, no_proxy="", NETRC=str(netrc)):
            async with SchedulesSession(server.token, base_url=server.url) as direct:
                assert (await direct.get_operation(*ref)).is_succeeded
            async with SchedulesSession(server.token, base_url=server.url, http=http) as proxied:
                with pytest.raises(ResponseError) as caught:
                    await proxied.get_operation(*ref)
            assert (caught.value.status, lines) == (418, ["proxied"])
        with environment(http_proxy=proxy, no_proxy="127.0.0.1", NETRC=str(netrc)):
            async with SchedulesSession(server.token, base_url=server.url, http=http) as excepted:
                assert (await excepted.get_operation(*ref)).is_succeeded


@pytest.mark.parametrize("proxy", ["http://proxy.invalid:3128", "proxy"])
async def test_plain_http_never_goes_to_foreign_proxy(server: FakeSchedules, proxy: str) -> None:
    ref = server.script_operation(operation_answer("Succeeded"))
    with environment(http_proxy=proxy, no_proxy=""):
        async with (
            aiohttp.ClientSession(trust_env=True) as http,
            SchedulesSession(server.token, base_url=server.url, http=http, retry=ONCE) as session,
        ):
            assert (await session.get_operation(*ref)).is_succeeded


@pytest.mark.parametrize("is_token_wanted", [False, True])
async def test_unreadable_proxy_is_never_retried(clock: FakeClock, is_token_wanted: bool) -> None:
    """A wait ends at once instead of taking it for an outage, of the identity server too."""
    with environment(https_proxy="http://user:word@[proxy", no_proxy=""):
        async with aiohttp.ClientSession(trust_env=True) as http:
            auth = ClientCredentials("client", "secret", http=http, clock=clock) if is_token_wanted else "token"
            async with SchedulesSession(auth, http=http, clock=clock) as session:
                with pytest.raises(AuthenticationError if is_token_wanted else TransportError, match="HTTPS_PROXY"):
                    await session.wait_for_operation(REF)
    assert clock.monotonic() == 0


async def test_untrusted_certificate_is_never_retried(clock: FakeClock) -> None:
    """A borrowed session may trust it."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY))
        await writer.drain()

    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with serve(answer, context) as url:
        async with SchedulesSession("token", base_url=url, clock=clock) as session:
            with pytest.raises(TransportError) as caught:
                await session.get_operation(*REF)
            assert not caught.value.is_transient
            assert session.stats.requests == 1
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting)) as http,
            SchedulesSession("token", base_url=url, http=http, clock=clock) as session,
        ):
            assert (await session.get_operation(*REF)).percent_complete == 10


async def test_transport_closed_twice_is_harmless() -> None:
    transport = Transport("http://127.0.0.1:1", 1.0, None, lambda: True)
    with pytest.raises(TransportError):
        await transport.get(REF, BearerToken("token"), None)
    await transport.aclose()
    await transport.aclose()


@pytest.mark.parametrize(
    ("limit", "per_host", "most"),
    [(100, 0, 100), (3, 0, 3), (0, 0, 100), (500, 0, 100), (100, 2, 2), (0, 2, 2), (3, 2, 2), (2, 3, 2)],
)
async def test_borrowed_connector_bounds_requests_in_flight(limit: int, per_host: int, most: int) -> None:
    connector = aiohttp.TCPConnector(limit=limit, limit_per_host=per_host)
    async with aiohttp.ClientSession(connector=connector) as http:
        assert Transport("http://127.0.0.1:1", 1.0, http, lambda: True).max_connections == most


def test_own_connector_bounds_requests_in_flight() -> None:
    assert Transport("http://127.0.0.1:1", 1.0, None, lambda: True).max_connections == 100


async def test_calls_beyond_connector_limit_lose_no_time(server: FakeSchedules, clock: FakeClock) -> None:
    """Sixty calls over two connections, each answered after a second: at most two are in flight at a time."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=2)) as http:
        session = server.session(http=http, retry=ONCE, rate_limits=(RateLimit(1000, 1),))
        refs = [server.script_operation(operation_answer("Succeeded", delay=1)) for _ in range(60)]
        results = await asyncio.gather(*(session.get_operation(*ref) for ref in refs))
        assert all(operation.is_succeeded for operation in results)
        times = [request.time for request in server.requests]
        assert max(len([other for other in times if time - 1 < other <= time]) for time in times) == 2
        assert session.stats.requests == len(times) == 60
        assert clock.monotonic() < 31
        await session.close()


def test_time_in_connector_queue_does_not_count() -> None:
    """The request timeout runs while a request has a connection, not while somebody else's has all of them."""

    async def call_behind_foreign_request(loop: HastyLoop) -> None:
        async with FakeSchedules() as server, aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as http:
            url = server.url_of(server.script_operation(stall()))
            foreign = asyncio.create_task(http.get(url, headers={"Authorization": f"Bearer {server.token}"}))
            while not server.requests:
                await turns(1)
            async with SchedulesSession(
                server.token, base_url=server.url, http=http, request_timeout=60, retry=ONCE
            ) as session:
                ref = server.script_operation(operation_answer("Succeeded"))
                call = asyncio.create_task(session.get_operation(*ref))
                await turns(50)
                loop.ahead += 100
                await turns(50)
                assert not call.done()
                assert len(server.requests) == 1
                foreign.cancel()
                assert (await call).is_succeeded

    loop = HastyLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(call_behind_foreign_request(loop))


@pytest.mark.parametrize("signal", ["on_connection_queued_start", "on_connection_queued_end"])
def test_trace_config_that_blocks_in_queue_is_timed(signal: str) -> None:
    """Only the wait for the connection itself does not count."""

    async def call_behind_foreign_request(loop: HastyLoop) -> None:
        is_blocked = asyncio.Event()

        async def block(*_: object) -> None:
            is_blocked.set()
            await asyncio.Event().wait()

        config = aiohttp.TraceConfig()
        getattr(config, signal).append(block)
        connector = aiohttp.TCPConnector(limit=1)
        async with (
            FakeSchedules() as server,
            aiohttp.ClientSession(connector=connector) as owner,
            aiohttp.ClientSession(connector=connector, connector_owner=False, trace_configs=[config]) as http,
            SchedulesSession(server.token, base_url=server.url, http=http, request_timeout=60, retry=ONCE) as session,
        ):
            url = server.url_of(server.script_operation(stall()))
            foreign = asyncio.create_task(owner.get(url, headers={"Authorization": f"Bearer {server.token}"}))
            while not server.requests:
                await turns(1)
            call = asyncio.create_task(session.get_operation("schedule", "operation"))
            await turns(50)
            foreign.cancel()
            await is_blocked.wait()
            loop.ahead += 100
            with pytest.raises(TransportError, match="within 60 s"):
                await asyncio.wait_for(call, 30)

    loop = HastyLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(call_behind_foreign_request(loop))


@pytest.mark.parametrize("kind", [LookupError, ConnectionRefusedError, TimeoutError])
@pytest.mark.parametrize(
    "signal",
    [
        "on_request_start",
        "on_connection_create_start",
        "on_connection_create_end",
        "on_dns_resolvehost_start",
        "on_request_headers_sent",
        "on_request_end",
    ],
)
async def test_error_of_trace_config_is_never_retried(
    server: FakeSchedules, signal: str, kind: type[Exception]
) -> None:
    """Also one that aiohttp wraps, as if it were a fault of the connection."""
    url = server.url.replace("127.0.0.1", "localhost")
    async with traced_session(server, signal, kind, base_url=url) as session:
        with pytest.raises(kind, match="collector is down") as caught:
            await session.get_operation(*server.start_operation())
        assert session.stats.requests == 1
    assert not shows_secret(render(caught.value))


async def test_error_about_failed_request_has_no_context(server: FakeSchedules) -> None:
    """The frames of the fault of the request, and the fault itself, hold its headers."""
    async with traced_session(server, "on_request_exception", LookupError) as session:
        with pytest.raises(LookupError) as caught:
            await session.get_operation(*script(server, raw(b"HTTP/1.1 two hundred\r\n\r\n")))
    assert caught.value.__context__ is None


@asynccontextmanager
async def occupied(server: FakeSchedules) -> AsyncIterator[tuple[aiohttp.ClientSession, asyncio.Task[Any]]]:
    """Yield a session with a single connection, and the request that uses it."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as http:
        url = server.url_of(server.script_operation(stall()))
        foreign = asyncio.create_task(http.get(url, headers={"Authorization": f"Bearer {server.token}"}))
        while not server.requests:
            await turns(1)
        yield http, foreign
        foreign.cancel()


async def test_request_cancelled_in_queue_was_never_sent(server: FakeSchedules) -> None:
    """It takes no part of a rate limit, and the session closes."""
    async with (
        occupied(server) as (http, foreign),
        server.session(http=http, rate_limits=(RateLimit(1, 3600),), retry=ONCE) as session,
    ):
        for _ in range(3):
            call = asyncio.create_task(session.get_operation("schedule", "operation"))
            await turns(50)
            assert session.stats.in_flight == 1
            call.cancel()
            await asyncio.wait({call})
            await turns(5)
        assert (session.stats.requests, session.stats.in_flight, len(server.requests)) == (0, 0, 1)
        foreign.cancel()
        assert (await session.get_operation(*server.script_operation(operation_answer("Succeeded")))).is_succeeded
        waiting = asyncio.create_task(session.get_operation("schedule", "operation"))
        await turns(50)
    assert isinstance((await asyncio.gather(waiting, return_exceptions=True))[0], SessionClosedError)


@pytest.mark.parametrize(("count", "error"), [(20, None), (21, TransportError)])
async def test_poll_cancelled_in_queue_is_repeated(
    server: FakeSchedules, count: int, error: type[SchedulesError] | None
) -> None:
    """By somebody who cancels all tasks; at most twenty times in a row."""
    async with (
        occupied(server) as (http, foreign),
        server.session(http=http, rate_limits=(), retry=RetryPolicy(attempts=1, base=0, max_outage=0)) as session,
    ):
        before = asyncio.all_tasks()
        waiter = session.wait_for_operation(*server.script_operation(operation_answer("Succeeded")))
        wait = asyncio.create_task(waiter)
        for _ in range(count):
            await turns(50)
            for task in asyncio.all_tasks() - before - {wait}:
                if "_poll" in repr(task):
                    task.cancel()
        await turns(50)
        foreign.cancel()
        (result,) = await asyncio.gather(wait, return_exceptions=True)
        assert (type(result) if error else None) is error
        assert session.stats.requests == (0 if error else 1)
