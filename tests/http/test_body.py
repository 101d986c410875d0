"""What a fault of aiohttp becomes, and what is decoded of a body."""

import asyncio
import errno
import gzip
import ssl
import traceback
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

import aiohttp
import pytest
import trustme
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from schedules_async._http.body import LARGEST_BODY, MOST_VALUES, read_whole, to_transport_error
from schedules_async._http.borrowed import Proxy
from schedules_async._http.responses import Answer
from schedules_async._operations.ref import OperationRef
from schedules_async.errors import TransportError

REF = OperationRef("schedule", "operation")
SECRET = "Bearer secret"
HOST = URL("https://host")
PROXY = Proxy(URL("http://user:secret@proxy:3128"), "HTTPS_PROXY")


def raised_with(fault: Exception, headers: dict[str, str], cause: Exception | None = None) -> Exception:
    """Raise as aiohttp does, where the request's headers stand in the frame."""
    assert headers
    try:
        raise fault from cause
    except type(fault) as error:
        return error


def response_error() -> aiohttp.ClientResponseError:
    headers = CIMultiDictProxy(CIMultiDict({"Authorization": SECRET}))
    request = aiohttp.RequestInfo(URL("https://example.com"), "GET", headers, URL("https://example.com"))
    return aiohttp.ClientResponseError(request, (), status=400, message="bad bytes")


@pytest.mark.parametrize("cause", [None, ValueError("behind")], ids=str)
@pytest.mark.parametrize(
    "fault", [OSError("reset"), TimeoutError(), response_error()], ids=lambda fault: type(fault).__name__
)
def test_error_shows_nothing_of_the_request(fault: Exception, cause: Exception | None) -> None:
    """Not in its repr, nor in the variables of a frame, which some tools print."""
    behind = raised_with(cause, {"Authorization": SECRET}) if cause else None
    error = to_transport_error(raised_with(fault, {"Authorization": SECRET}, behind), HOST, None, REF)
    shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert str(error) in shown
    assert type(error.__cause__).__name__ in shown
    assert "secret" not in shown
    assert error.ref == REF


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (OSError("Reset"), "cannot reach host:443: reset"),
        (ConnectionResetError(errno.ECONNRESET, "x"), "cannot reach host:443: connection reset by peer"),
        (TimeoutError(), "cannot reach host:443: no complete answer in time"),
        (TimeoutError("no answer within 30 s"), "cannot reach host:443: no answer within 30 s"),
        (response_error(), "the answer holds bytes that are not HTTP"),
        (aiohttp.ServerDisconnectedError(), "cannot reach host:443: server disconnected"),
        (aiohttp.ServerDisconnectedError("an answer came unasked"), "cannot reach host:443: an answer came unasked"),
        (RuntimeError(), "RuntimeError"),
    ],
)
def test_error_text_names_the_fault(fault: Exception, text: str) -> None:
    error = to_transport_error(fault, HOST, None)
    assert (str(error), error.ref, error.is_transient) == (text, None, True)


def test_error_text_names_the_proxy_without_login() -> None:
    error = to_transport_error(aiohttp.ServerDisconnectedError(), HOST, PROXY)
    text = "cannot reach host:443 through the proxy proxy:3128 (HTTPS_PROXY): server disconnected"
    assert (str(error), "secret" in repr(PROXY)) == (text, False)


def test_fault_known_to_last_is_not_transient() -> None:
    assert not to_transport_error(RuntimeError("Session is closed"), HOST, None, is_transient=False).is_transient
    mismatch = aiohttp.ServerFingerprintMismatch(b"expected", b"got", "host", 443)
    assert not to_transport_error(mismatch, HOST, None, is_transient=True).is_transient


@asynccontextmanager
async def serve(answer: bytes) -> AsyncIterator[str]:
    """Yield the address of a server that answers each request with these bytes."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def ask(url: str, *, proxy: Proxy | None = None, **options: Any) -> Answer | TransportError:
    address = None if proxy is None else proxy.url
    async with aiohttp.ClientSession(auto_decompress=False, proxy=address, **options) as http:
        try:
            return await read_whole(await http.get(url, allow_redirects=False), proxy)
        except Exception as error:
            fault = error
        return to_transport_error(fault, URL(url), proxy, REF)


def shown_by(error: BaseException) -> str:
    """Return everything that a log, a traceback with the frames' variables, or a debugger shows of an error."""
    shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    parts: list[BaseException | None] = [error]
    for part in parts:
        if part is not None:
            shown += f"{part!r} {part.args!r} {vars(part)!r}"
            parts += [part.__cause__, part.__context__]
    return shown


NOT_HTTP = "the answer holds bytes that are not HTTP"
CUT_OFF = "the answer was cut off"
CLOSED = "cannot reach {}: server disconnected"


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"HTTP/1.1 200 OK\r\nBad Header: @\r\n\r\n", NOT_HTTP),
        (b"HTTP/1.1 2OO @\r\n\r\n", NOT_HTTP),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n@\r\n", NOT_HTTP),
        (b"HTTP/1.1 200 OK\r\nContent-Length: @\r\n\r\n", NOT_HTTP),
        (b"HTTP/1.1 200 OK\r\nX: " + b"@" * 9000 + b"\r\n\r\n", NOT_HTTP),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}@\r\n\r\n", NOT_HTTP),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n@ more", NOT_HTTP),
        (b"@\r\n\r\n", NOT_HTTP),
        (b"HTTP/1.1 200 OK\r\nX: @\r\n", CLOSED),
        (b"", CLOSED),
        (b"HTTP/1.1 200 OK\r\nX: @\r\nContent-Length: 99\r\n\r\n@", CUT_OFF),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n90\r\n@", CUT_OFF),
    ],
)
async def test_fault_shows_no_byte_of_the_answer(answer: bytes, text: str) -> None:
    """A server that explains what it was sent may repeat the token, or another secret."""
    async with serve(answer.replace(b"@", SECRET.encode())) as address:
        error = await ask(f"http://{address}/")
    assert isinstance(error, TransportError)
    assert (str(error), error.ref, error.is_transient) == (text.format(address), REF, True)
    assert isinstance(error.__cause__, aiohttp.ClientError)
    assert "secret" not in shown_by(error)


async def test_refused_connection_names_the_host_plainly() -> None:
    assert str(await ask("http://127.0.0.1:1/")) == "cannot reach 127.0.0.1:1: connection refused"
    nobody = await ask("http://nobody.invalid/")
    assert str(nobody).startswith("cannot reach nobody.invalid:80: the name of the host cannot be resolved (")
    assert isinstance(nobody, TransportError)
    assert isinstance(nobody.__cause__, aiohttp.ClientConnectorError)


def test_words_of_a_resolver_are_kept() -> None:
    """The error number of one is negative, and none of the system's."""
    key = aiohttp.client_reqrep.ConnectionKey(
        "nobody.invalid", 443, is_ssl=True, ssl=True, proxy=None, proxy_auth=None, proxy_headers_hash=None
    )
    fault = aiohttp.ClientConnectorDNSError(key, OSError(-3, "Temporary failure in name resolution"))
    text = str(to_transport_error(fault, HOST, None))
    assert text == f"cannot reach {HOST.host}:{HOST.port}: temporary failure in name resolution"


async def test_unreachable_proxy_is_named_without_login() -> None:
    error = await ask("http://127.0.0.2:1/", proxy=Proxy(URL("http://user:secret@127.0.0.1:1"), "HTTP_PROXY"))
    assert isinstance(error, TransportError)
    assert str(error) == "cannot reach the proxy 127.0.0.1:1 (HTTP_PROXY): connection refused"
    assert "secret" not in shown_by(error)


@pytest.mark.parametrize(
    ("url", "status", "text", "is_transient"),
    [
        ("https://api.example:443", 403, "403 Forbidden", False),
        ("https://api.example:443", 407, "407 Proxy Authentication Required", False),
        ("https://api.example:443", 429, "429 Too Many Requests", True),
        ("https://api.example:443", 502, "502 Bad Gateway", True),
        ("https://api.example:443", 777, "777", False),
        ("http://127.0.0.2:1", 407, "407 Proxy Authentication Required", False),
    ],
)
async def test_answer_of_the_proxy_is_called_that(url: str, status: int, text: str, is_transient: bool) -> None:
    async with serve(b"HTTP/1.1 %d secret\r\nContent-Length: 0\r\n\r\n" % status) as proxy:
        error = await ask(url, proxy=Proxy(URL(f"http://user:secret@{proxy}")))
    assert isinstance(error, TransportError)
    host = url.partition("://")[2]
    assert str(error) == f"cannot reach {host}: the proxy {proxy} answered {text}"
    assert error.is_transient == is_transient
    assert "secret" not in shown_by(error)


@pytest.mark.parametrize(("status", "is_proxied"), [(407, False), (502, True)])
async def test_answer_maybe_of_service_is_no_fault(status: int, is_proxied: bool) -> None:
    async with serve(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status) as address:
        answer = await ask(f"http://{address}", proxy=Proxy(URL(f"http://{address}")) if is_proxied else None)
    assert isinstance(answer, Answer)
    assert answer.status == status


async def test_failure_behind_a_proxy_shows_no_login() -> None:
    """The tunnel is there, and what is at its end speaks no TLS."""
    async with serve(b"HTTP/1.1 200 OK\r\n\r\nno TLS") as proxy:
        error = await ask("https://api.example.com/", proxy=Proxy(URL(f"http://user:secret@{proxy}")))
    assert isinstance(error, TransportError)
    assert str(error) == f"cannot reach api.example.com:443 through the proxy {proxy}: connection closed"
    assert "secret" not in shown_by(error)


async def test_server_without_tls_is_named_plainly() -> None:
    def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"no TLS, but text")
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        error = await ask(f"https://{address}/")
    text = str(error).removeprefix(f"cannot reach {address}: TLS failed: ")
    assert text in ("wrong version number", "record layer failure", "packet length too long")


async def test_untrusted_certificate_is_named_plainly() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)

    def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0, ssl=context) as server:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        untrusted = await ask(f"https://{address}/")
        other = await ask(f"https://{address}/", connector=aiohttp.TCPConnector(ssl=aiohttp.Fingerprint(b"0" * 32)))
    assert str(untrusted).startswith(f"the certificate of {address} is not trusted: unable to get local issuer")
    assert str(other) == f"the certificate of {address} has another fingerprint"
    for error in (untrusted, other):
        assert isinstance(error, TransportError)
        assert not error.is_transient


def test_ipv6_address_is_written_in_brackets() -> None:
    mismatch = aiohttp.ServerFingerprintMismatch(b"expected", b"got", "::1", 443)
    error = to_transport_error(mismatch, URL("https://[::1]"), None)
    assert str(error) == "the certificate of [::1]:443 has another fingerprint"


async def test_answer_with_retry_after_has_its_time() -> None:
    before = datetime.now(UTC)
    async with serve(b"HTTP/1.1 304 Not Modified\r\nRetry-After: 1\r\n\r\n") as address:
        answer = await ask(f"http://{address}/")
    assert isinstance(answer, Answer)
    assert answer.received is not None
    assert before <= answer.received <= datetime.now(UTC)


BODY = b"a body of some length " * 10
compress = partial(gzip.compress, mtime=0)  # the same bytes, and so the same names of tests, in every process
EMPTY = compress(b"")


async def decoded(encoding: str, body: bytes) -> Answer:
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: {len(body)}\r\n\r\n"
    async with serve(head.encode() + body) as address:
        answer = await ask(f"http://{address}/")
    assert isinstance(answer, Answer)
    return answer


@pytest.mark.parametrize(
    "body",
    [
        compress(BODY),
        compress(BODY[:20]) + compress(BODY[20:]),
        EMPTY + compress(BODY),
        compress(BODY) + EMPTY,
        EMPTY * 300 + b"".join(compress(BODY[start : start + 1]) for start in range(len(BODY))) + EMPTY * 300,
    ],
    ids=["one", "two", "empty one first", "empty one last", "many"],
)
async def test_gzip_of_several_members_is_decoded(body: bytes) -> None:
    answer = await decoded("gzip", body)
    assert (answer.body, answer.problem) == (BODY, None)


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", compress(BODY) + b"more"),
        ("gzip", compress(BODY) + EMPTY[:-1]),
        ("gzip", EMPTY + compress(BODY)[:-1]),
        ("gzip", compress(BODY) + b"\0" * 20),
        ("deflate", zlib.compress(BODY) + zlib.compress(BODY)),
        ("deflate", zlib.compress(BODY) + b"x"),
        ("gzip, gzip", compress(BODY)),
        ("br", BODY),
    ],
)
async def test_damaged_body_is_a_problem(encoding: str, body: bytes) -> None:
    answer = await decoded(encoding, body)
    assert (answer.body, answer.problem) == (b"", "the body cannot be decoded")


@pytest.mark.parametrize(
    "body",
    [
        compress(b" " * 20_000_000),
        compress(b" " * LARGEST_BODY) + compress(b" "),
        compress(b" " * 1000) * 2000,
        EMPTY * 60_000,
    ],
    ids=["one member", "two members", "many members", "many empty members"],
)
async def test_gzip_over_the_bound_is_never_held(body: bytes) -> None:
    """Of the many empty members it is the bytes received that are too many."""
    tracemalloc.start()
    try:
        answer = await decoded("gzip", body)
        assert tracemalloc.get_traced_memory()[1] < 16_000_000
    finally:
        tracemalloc.stop()
    assert (answer.body, answer.problem) == (b"", f"the body is larger than {LARGEST_BODY} bytes")


async def test_body_of_too_many_values_is_a_problem() -> None:
    """A value takes a hundred times the memory of its text."""
    body = b"[" + b"1," * MOST_VALUES + b"1]"
    assert (await decoded("identity", body)).problem == f"the body holds more than {MOST_VALUES} values"


MANY = b"," * (MOST_VALUES + 1)


@pytest.mark.parametrize(
    ("body", "is_refused"),
    [
        (b'{"a": "%s"}' % MANY, False),
        (b'{"a": "\\"%s"}' % MANY, False),
        (b'{"%s\\\\": ""}' % MANY, False),
        (b'{"a": "%s", "b": [%s]}' % (MANY, MANY), True),
        (b'["\\\\", %s, "\\\\"]' % MANY, True),
        (b'["\\\\\\"", %s, "\\""]' % MANY, True),
        (b'["%s' % MANY, False),
        (MANY + b'"' * (LARGEST_BODY - len(MANY)), True),
        (MANY + b'"\\' * ((LARGEST_BODY - len(MANY)) // 2), True),
        (b'"%s"' % MANY + b"\\" * (LARGEST_BODY - len(MANY) - 2), False),
    ],
    ids=range(10),
)
async def test_delimiters_inside_strings_are_no_values(body: bytes, *, is_refused: bool) -> None:
    """Nor do escaped quotes end a string, and nothing does at the end of the text."""
    expected = f"the body holds more than {MOST_VALUES} values" if is_refused else None
    assert (await decoded("identity", body)).problem == expected


async def test_gzip_up_to_the_bound_is_held_whole() -> None:
    half = b" " * (LARGEST_BODY // 2)
    assert len((await decoded("gzip", compress(half) * 2)).body) == LARGEST_BODY
