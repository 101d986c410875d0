import asyncio
import gc
import socket
import threading

import pytest
from yarl import URL

from schedules_async.testing import Answer, FakeSchedules, raw, reset, stall

GET = b"""GET /schedules/s/operations/o HTTP/1.1\r
Host: x\r
Authorization: Bearer test-token\r
Connection: close\r
\r
"""


def serve(answer: Answer, host: str = "127.0.0.1") -> FakeSchedules:
    """Return a server that sends one answer to every `GET`."""
    server = FakeSchedules(host=host)
    server.script_operation(answer, schedule_id="s", operation_id="o")
    return server


async def connect(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(URL(url).host, URL(url).port)


async def exchange(server: FakeSchedules, request: bytes) -> bytes:
    """Send bytes over a plain socket and read until the server closes the connection."""
    reader, writer = await connect(server.url)
    try:
        writer.write(request)
        return await reader.read(-1)
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("answer", "head", "tail"),
    [
        (raw(b"what?\n"), b"what?\n", b""),
        (raw(b""), b"", b""),
        (raw(b"x" * 1_000_000 + b"end"), b"xxx", b"xend"),
        (Answer(200, b"abc", {"X-A": "1"}), b"HTTP/1.1 200 OK\r\nX-A: 1\r\n", b"\r\n\r\nabc"),
        (Answer(299, b""), b"HTTP/1.1 299", b"\r\n\r\n"),
        (Answer(304, b"no body", {"ETag": '"a"'}), b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n', b"\r\n\r\n"),
        (Answer(200, b"", [("ETag", '"a"'), ("ETag", '"b"')]), b'HTTP/1.1 200 OK\r\nETag: "a"\r\nETag: "b"\r\n', b""),
    ],
)
async def test_answer_is_sent_as_expected_bytes(answer: Answer, head: bytes, tail: bytes) -> None:
    server = serve(answer)
    await server.start()
    sent = await exchange(server, GET)
    assert sent.startswith(head)
    assert sent.endswith(tail)
    await server.close()


async def test_reset_answer_resets_connection() -> None:
    server = serve(reset())
    await server.start()
    with pytest.raises(ConnectionResetError):
        await exchange(server, GET)
    await server.close()


async def test_request_that_is_not_http_is_answered_400() -> None:
    server = FakeSchedules()
    await server.start()
    assert b" 400 " in await exchange(server, b"hello\r\n\r\n")
    await server.close()


@pytest.mark.parametrize("answer", [stall(), raw(b"HTTP/1.1 200 OK\r\n", close=False), stall(delay=3600)])
async def test_close_ends_waiting_requests(answer: Answer) -> None:
    server = serve(answer)
    await server.start()
    client = asyncio.create_task(exchange(server, GET))
    for _ in iter(lambda: server._waiting, 1):
        await asyncio.sleep(0)
    await server.close()
    assert server.open_connections == 0
    await asyncio.wait({client})
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_close_aborts_connection_just_made() -> None:
    server = FakeSchedules()
    await server.start()
    _, writer = await connect(server.url)
    await server.close()
    assert server.open_connections == 0
    writer.close()


@pytest.mark.parametrize("steps", range(8))
async def test_cancelled_close_still_ends_everything(steps: int) -> None:
    """The cancellation comes at each iteration of the event loop, and is raised in the end."""
    server = serve(stall())
    await server.start()
    url = server.url
    client = asyncio.create_task(exchange(server, GET))
    for _ in iter(lambda: server._waiting, 1):
        await asyncio.sleep(0)
    close = asyncio.create_task(server.close())
    for _ in range(steps):
        await asyncio.sleep(0)
    close.cancel()
    close.cancel()
    await asyncio.wait({close})
    await server.close()
    assert server.open_connections == 0
    assert not await is_listening(url)
    await asyncio.wait({client})
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_cancelled_close_raises_cancelled_error() -> None:
    server = FakeSchedules()
    await server.start()
    close = asyncio.create_task(server.close())
    await asyncio.sleep(0)
    close.cancel()
    await asyncio.wait({close})
    assert close.cancelled()
    with pytest.raises(RuntimeError, match="not running"):
        str(server.url)


@pytest.mark.parametrize("steps", range(5))
async def test_cancelled_start_leaves_no_socket(steps: int) -> None:
    server = FakeSchedules()
    start = asyncio.create_task(server.start())
    for _ in range(steps):
        await asyncio.sleep(0)
    start.cancel()
    await asyncio.wait({start})
    gc.collect()  # an open socket would be a ResourceWarning
    if start.cancelled():
        await server.start()
    await server.close()


async def is_listening(url: str) -> bool:
    try:
        _, writer = await connect(url)
    except ConnectionRefusedError:
        return False
    writer.close()
    return True


async def test_ipv6_address_has_brackets_in_url() -> None:
    server = serve(Answer(200, b"six"), host="::1")
    await server.start()
    assert server.url.startswith("http://[::1]:")
    assert (await exchange(server, GET)).endswith(b"six")
    await server.close()


async def test_server_cannot_start_twice() -> None:
    server = FakeSchedules()
    await server.close()
    with pytest.raises(RuntimeError, match="not running"):
        str(server.url)
    await server.start()
    with pytest.raises(RuntimeError, match="already running"):
        await server.start()
    await server.close()
    await server.close()
    assert server.open_connections == 0
    await server.start()
    await server.close()


def server_threads() -> int:
    return [thread.name for thread in threading.enumerate()].count("FakeSchedules")


def test_plain_with_serves_from_a_thread() -> None:
    with serve(raw(b"from a thread")) as server:
        host, port = URL(server.url).host or "", URL(server.url).port or 0
        assert server_threads() == 1
        with socket.create_connection((host, port), timeout=60) as connection:
            connection.sendall(GET)
            assert connection.recv(100) == b"from a thread"
    assert server_threads() == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_error_of_starting_leaves_no_thread(host: str) -> None:
    """A name is resolved in a further thread of the event loop."""
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        pytest.raises(OSError, match=r"in use|only one usage"),
        FakeSchedules(host=host, port=other.getsockname()[1]),
    ):
        pass
    assert server_threads() == 0


def test_error_of_closing_leaves_no_thread() -> None:
    class Lost(FakeSchedules):
        async def close(self) -> None:
            await super().close()
            raise OSError("lost")

    with pytest.raises(OSError, match="lost"), Lost():
        pass
    assert server_threads() == 0


def test_error_within_plain_with_is_raised_after_close() -> None:
    with pytest.raises(KeyError, match="mine"), FakeSchedules() as server:
        raise KeyError("mine")
    assert server_threads() == 0
    with pytest.raises(RuntimeError, match="not running"):
        str(server.url)
