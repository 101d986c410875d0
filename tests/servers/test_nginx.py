"""nginx: tags strong and weak, real 304, a quota, its error pages, truncated answers from upstream, and TLS."""

import asyncio
import ssl
from collections.abc import AsyncIterator

import aiohttp
import pytest
from sessions import UNLIMITED

from schedules_async import (
    NotFoundError,
    PermissionDeniedError,
    PollingPolicy,
    RateLimitedError,
    ResponseError,
    RetryPolicy,
    SchedulesError,
    SchedulesSession,
    ServerError,
    TransportError,
)
from servers.running import SCHEDULE, Server, Site

pytestmark = pytest.mark.servers

ONCE = RetryPolicy(attempts=1)


@pytest.mark.parametrize(("path", "beginning"), [("", '"'), ("/gzip", 'W/"')])
async def test_unchanged_operation_is_a_304(nginx: Server, site: Site, path: str, beginning: str) -> None:
    """Under gzip nginx weakens the tag of a 200, but not that of a 304."""
    ref = site.publish("tagged", "Started", 10)
    async with SchedulesSession("token", base_url=nginx.url("PLAIN") + path) as session:
        first = await session.get_operation(*ref)
        assert first.etag is not None
        assert first.etag.startswith(beginning)
        assert await session.get_operation(*ref) is first
        assert session.stats.not_modified == 1
        site.publish("tagged", "Started", 20)
        second = await session.get_operation(*ref)
        assert (second.percent_complete, session.stats.not_modified) == (20, 1)
        assert second.etag not in (None, first.etag)
        assert await session.get_operation(*ref) is second


async def test_without_tags_every_answer_is_whole(nginx: Server, site: Site) -> None:
    ref = site.publish("untagged", "Started", 10)
    async with SchedulesSession("token", base_url=nginx.url("PLAIN") + "/untagged") as session:
        assert [(await session.get_operation(*ref)).etag for _ in range(2)] == [None, None]
        assert session.stats.not_modified == 0


async def test_wait_follows_a_file(nginx: Server, site: Site) -> None:
    ref, percents = site.publish("followed", "Started", 10), []
    async with SchedulesSession("token", base_url=nginx.url("PLAIN"), polling=PollingPolicy.fixed(0.02)) as session:
        async for operation in session.wait_for_operation(*ref, timeout=60):
            percents.append(operation.percent_complete)
            if not operation.is_done:
                site.publish("followed", *(("Started", 50) if operation.percent_complete < 50 else ("Succeeded", 100)))
    assert percents == [10, 50, 100]


async def test_quota_without_retry_after_is_kept_to(nginx: Server, site: Site) -> None:
    """nginx answers two requests a second and throttles the rest; every caller gets an answer."""
    refs = [site.publish(f"limited {number}", "Started", number) for number in range(3)]
    async with SchedulesSession(
        "token", base_url=nginx.url("PLAIN") + "/quota", retry=RetryPolicy(base=0.1, max_pause=0.2), rate_limits=()
    ) as session:
        operations = await asyncio.gather(*(session.get_operation(*ref) for ref in refs))
        assert [operation.percent_complete for operation in operations] == list(range(3))
        assert session.stats.throttled > 0
        assert session.stats.retried == 0


async def test_quota_beyond_max_retry_after_is_raised(nginx: Server, site: Site) -> None:
    refs = [site.publish(f"refused {number}", "Started", number) for number in range(3)]
    async with SchedulesSession(
        "token",
        base_url=nginx.url("PLAIN") + "/quota-with-a-time",
        retry=RetryPolicy(max_retry_after=0),
        rate_limits=UNLIMITED,
    ) as session:
        results = await asyncio.gather(*(session.get_operation(*ref) for ref in refs), return_exceptions=True)
    throttled = [result for result in results if isinstance(result, RateLimitedError)]
    assert throttled
    assert {(error.status, error.retry_after, error.code) for error in throttled} == {(429, 1.0, None)}


@pytest.mark.parametrize(
    ("path", "status", "kind"),
    [
        ("/moved", 301, ResponseError),
        ("/status-307", 307, ResponseError),
        ("/status-400", 400, ResponseError),
        ("/status-403", 403, PermissionDeniedError),
        ("/status-404", 404, NotFoundError),
        ("/status-406", 406, ResponseError),
        ("/status-410", 410, ResponseError),
        ("/status-500", 500, ServerError),
        ("/status-502", 502, ServerError),
        ("/status-503", 503, ServerError),
        ("/status-504", 504, ServerError),
        ("/nothing-here", 404, NotFoundError),
    ],
)
async def test_error_page_raises_the_error_of_its_status(
    nginx: Server, path: str, status: int, kind: type[ResponseError]
) -> None:
    """The pages are HTML; a redirect is an error and is not followed."""
    async with SchedulesSession("token", base_url=nginx.url("PLAIN") + path, retry=ONCE) as session:
        with pytest.raises(ResponseError) as caught:
            await session.get_operation(SCHEDULE, "operation")
        assert type(caught.value) is kind
        assert (caught.value.status, caught.value.code, caught.value.message) == (status, None, None)
        assert session.stats.requests == 1


async def test_connection_closed_without_an_answer_is_retried(nginx: Server) -> None:
    retry = RetryPolicy(attempts=3, base=0)
    async with SchedulesSession("token", base_url=nginx.url("PLAIN") + "/no-answer", retry=retry) as session:
        with pytest.raises(TransportError):
            await session.get_operation(SCHEDULE, "operation")
        assert (session.stats.requests, session.stats.retried) == (3, 2)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
BEHIND = {
    "cut": (HEAD + b'Content-Length: 1000\r\n\r\n{"operation": {', TransportError),
    "cut chunk": (HEAD + b'Transfer-Encoding: chunked\r\n\r\n40\r\n{"operation": {', TransportError),
    "no last chunk": (HEAD + b'Transfer-Encoding: chunked\r\n\r\n0f\r\n{"operation": {\r\n', TransportError),
    "no answer": (b"", ServerError),
    "no HTTP": (b"\x16\x03\x01\r\n\r\n", SchedulesError),
}


@pytest.fixture
async def behind(nginx: Server) -> AsyncIterator[None]:
    """Serve as the upstream; cut the answer off where the operation's id says."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1]
        name = path.rpartition(b"/")[2].decode().replace("%20", " ")
        writer.write(BEHIND[name][0])
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", nginx.ports["UPSTREAM"]):
        yield


@pytest.mark.usefixtures("behind")
@pytest.mark.parametrize("name", BEHIND)
async def test_broken_upstream_is_a_typed_error(nginx: Server, name: str) -> None:
    async with SchedulesSession("token", base_url=nginx.url("PLAIN") + "/upstream", retry=ONCE) as session:
        with pytest.raises(BEHIND[name][1]):
            await session.get_operation(SCHEDULE, name)


async def test_missing_upstream_is_a_502(nginx: Server) -> None:
    async with SchedulesSession("token", base_url=nginx.url("PLAIN") + "/upstream", retry=ONCE) as session:
        with pytest.raises(ServerError) as caught:
            await session.get_operation(SCHEDULE, "operation")
        assert caught.value.status == 502


async def test_borrowed_session_lends_its_trusted_authority(
    nginx: Server, site: Site, trusting: ssl.SSLContext
) -> None:
    ref = site.publish("over TLS", "Started", 10)
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting)) as http,
        SchedulesSession("token", base_url=nginx.url("GOOD", "https"), http=http) as session,
    ):
        first = await session.get_operation(*ref)
        assert first.percent_complete == 10
        assert await session.get_operation(*ref) is first


@pytest.mark.parametrize(
    ("port", "is_trusted", "reason"),
    [("GOOD", False, "unable to get local issuer"), ("ELSEWHERE", True, "mismatch"), ("EXPIRED", True, "expired")],
)
async def test_bad_certificate_is_never_retried(
    nginx: Server, trusting: ssl.SSLContext, port: str, is_trusted: bool, reason: str
) -> None:
    context = trusting if is_trusted else ssl.create_default_context()
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as http,
        SchedulesSession("token", base_url=nginx.url(port, "https"), http=http) as session,
    ):
        with pytest.raises(TransportError, match=reason) as caught:
            await session.get_operation(SCHEDULE, "operation")
        assert not caught.value.is_transient
        assert session.stats.requests == 1


async def test_wrong_scheme_is_a_typed_error(nginx: Server) -> None:
    for url, kind in ((nginx.url("GOOD"), ResponseError), (nginx.url("PLAIN", "https"), TransportError)):
        async with SchedulesSession("token", base_url=url, retry=ONCE) as session:
            with pytest.raises(kind):
                await session.get_operation(SCHEDULE, "operation")
