import asyncio
import gc
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web

from schedules_async._clock import SystemClock
from schedules_async.testing import Answer, ReceivedRequest, raw, reset, stall
from schedules_async.testing.http_server import HttpServer


def make_server(answer: Answer) -> HttpServer:
    def decide(request: web.BaseRequest) -> tuple[ReceivedRequest, Answer]:
        return ReceivedRequest(None, 0.0, request.method, request.raw_path, request.headers), answer

    return HttpServer(SystemClock(), decide, lambda now: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=now))


async def exchange(server: HttpServer, request: bytes) -> bytes:
    """Send bytes over a plain socket and read until the server closes the connection."""
    host, _, port = server.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    try:
        writer.write(request)
        return await reader.read(-1)
    finally:
        writer.close()


GET = b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "head", "tail"),
    [
        (raw(b"what?\n"), b"what?\n", b""),
        (raw(b""), b"", b""),
        (Answer(200, b"abc", {"X-A": "1"}), b"HTTP/1.1 200 OK\r\nX-A: 1\r\n", b"\r\n\r\nabc"),
        (Answer(299, b""), b"HTTP/1.1 299", b"\r\n\r\n"),
        (Answer(304, b"no body", {"ETag": '"a"'}), b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n', b"\r\n\r\n"),
        (Answer(200, b"", [("ETag", '"a"'), ("ETag", '"b"')]), b'HTTP/1.1 200 OK\r\nETag: "a"\r\nETag: "b"\r\n', b""),
    ],
)
async def test_answer_is_sent_as_expected_bytes(answer: Answer, head: bytes, tail: bytes) -> None:
    server = make_server(answer)
    await server.start("127.0.0.1", 0)
    sent = await exchange(server, GET)
    assert sent.startswith(head)
    assert sent.endswith(tail)
    await server.close()


async def test_reset_answer_resets_connection() -> None:
    server = make_server(reset())
    await server.start("127.0.0.1", 0)
    with pytest.raises(ConnectionResetError):
        await exchange(server, GET)
    await server.close()


async def test_request_that_is_not_http_is_answered_400() -> None:
    server = make_server(Answer())
    await server.start("127.0.0.1", 0)
    assert b" 400 " in await exchange(server, b"hello\r\n\r\n")
    await server.close()


@pytest.mark.parametrize("answer", [stall(), raw(b"HTTP/1.1 200 OK\r\n", close=False), stall(delay=3600)])
async def test_close_ends_waiting_requests(answer: Answer) -> None:
    server = make_server(answer)
    await server.start("127.0.0.1", 0)
    client = asyncio.create_task(exchange(server, GET))
    for _ in iter(lambda: server.open_connections, 1):
        await asyncio.sleep(0)
    assert not server.is_busy
    await server.close()
    assert server.open_connections == 0
    await asyncio.wait({client})
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_close_aborts_connection_just_made() -> None:
    server = make_server(Answer())
    await server.start("127.0.0.1", 0)
    host, _, port = server.address.rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    await server.close()
    assert server.open_connections == 0
    writer.close()


@pytest.mark.parametrize("steps", range(8))
async def test_cancelled_close_still_ends_everything(steps: int) -> None:
    """The cancellation comes at each iteration of the event loop, and is raised in the end."""
    server = make_server(stall())
    await server.start("127.0.0.1", 0)
    address = server.address
    client = asyncio.create_task(exchange(server, GET))
    for _ in iter(lambda: server.waiting, 1):
        await asyncio.sleep(0)
    close = asyncio.create_task(server.close())
    for _ in range(steps):
        await asyncio.sleep(0)
    close.cancel()
    close.cancel()
    await asyncio.wait({close})
    await server.close()
    assert server.open_connections == 0
    assert not await is_listening(address)
    await asyncio.wait({client})
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_cancelled_close_raises_cancelled_error() -> None:
    server = make_server(Answer())
    await server.start("127.0.0.1", 0)
    close = asyncio.create_task(server.close())
    await asyncio.sleep(0)
    close.cancel()
    await asyncio.wait({close})
    assert close.cancelled()
    with pytest.raises(RuntimeError, match="not running"):
        str(server.address)


@pytest.mark.parametrize("steps", range(5))
async def test_cancelled_start_leaves_no_socket(steps: int) -> None:
    server = make_server(Answer())
    start = asyncio.create_task(server.start("127.0.0.1", 0))
    for _ in range(steps):
        await asyncio.sleep(0)
    start.cancel()
    await asyncio.wait({start})
    gc.collect()  # an open socket would be a ResourceWarning
    if start.cancelled():
        await server.start("127.0.0.1", 0)
    await server.close()


async def is_listening(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except ConnectionRefusedError:
        return False
    writer.close()
    return True


async def test_ipv6_address_has_brackets() -> None:
    server = make_server(Answer(200, b"six"))
    await server.start("::1", 0)
    assert server.address.startswith("[::1]:")
    assert (await exchange(server, GET)).endswith(b"six")
    await server.close()


async def test_server_cannot_start_twice() -> None:
    server = make_server(Answer())
    await server.close()
    with pytest.raises(RuntimeError, match="not running"):
        str(server.address)
    await server.start("127.0.0.1", 0)
    with pytest.raises(RuntimeError, match="already running"):
        await server.start("127.0.0.1", 0)
    await server.close()
    await server.close()
    assert server.open_connections == 0
    await server.start("127.0.0.1", 0)
    await server.close()
