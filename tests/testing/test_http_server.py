import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web

from schedules_async._clock import SystemClock
from schedules_async.testing import Answer, ReceivedRequest, raw, reset, stall
from schedules_async.testing.listening import Listener


def make_listener(answer: Answer) -> Listener:
    def decide(request: web.BaseRequest) -> tuple[ReceivedRequest, Answer]:
        return ReceivedRequest(None, 0.0, request.method, request.raw_path, request.headers), answer

    return Listener(SystemClock(), decide, lambda now: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=now))


async def exchange(listener: Listener, request: bytes) -> bytes:
    """Send bytes over a bare socket and read until the other side ends."""
    host, _, port = listener.address.rpartition(":")
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
async def test_bytes_on_the_wire(answer: Answer, head: bytes, tail: bytes) -> None:
    listener = make_listener(answer)
    await listener.start("127.0.0.1", 0)
    sent = await exchange(listener, GET)
    assert sent.startswith(head)
    assert sent.endswith(tail)
    await listener.close()


async def test_a_reset_is_a_reset() -> None:
    listener = make_listener(reset())
    await listener.start("127.0.0.1", 0)
    with pytest.raises(ConnectionResetError):
        await exchange(listener, GET)
    await listener.close()


async def test_bytes_that_are_not_http_are_answered_with_400() -> None:
    listener = make_listener(Answer())
    await listener.start("127.0.0.1", 0)
    assert b" 400 " in await exchange(listener, b"hello\r\n\r\n")
    await listener.close()


@pytest.mark.parametrize("answer", [stall(), raw(b"HTTP/1.1 200 OK\r\n", close=False), stall(delay=3600)])
async def test_closing_ends_what_waits(answer: Answer) -> None:
    listener = make_listener(answer)
    await listener.start("127.0.0.1", 0)
    client = asyncio.create_task(exchange(listener, GET))
    for _ in iter(lambda: listener.open_connections, 1):
        await asyncio.sleep(0)
    assert not listener.is_busy
    await listener.close()
    assert listener.open_connections == 0
    await asyncio.wait({client})
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_closing_takes_a_connection_that_has_just_been_made() -> None:
    listener = make_listener(Answer())
    await listener.start("127.0.0.1", 0)
    host, _, port = listener.address.rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    await listener.close()
    assert listener.open_connections == 0
    writer.close()


async def test_ipv6_has_brackets() -> None:
    listener = make_listener(Answer(200, b"six"))
    await listener.start("::1", 0)
    assert listener.address.startswith("[::1]:")
    assert (await exchange(listener, GET)).endswith(b"six")
    await listener.close()


async def test_it_runs_once_at_a_time() -> None:
    listener = make_listener(Answer())
    await listener.close()
    with pytest.raises(RuntimeError, match="not running"):
        str(listener.address)
    await listener.start("127.0.0.1", 0)
    with pytest.raises(RuntimeError, match="is running"):
        await listener.start("127.0.0.1", 0)
    await listener.close()
    await listener.close()
    assert listener.open_connections == 0
    await listener.start("127.0.0.1", 0)
    await listener.close()
