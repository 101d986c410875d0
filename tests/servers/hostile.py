"""A server that sends whatever could fill a client's memory or time; the schedule's id names the answer.

A `FakeSchedules` cannot take its place: the answers have no end, and are sent as fast as the client reads.
"""

import asyncio
import gzip
import itertools
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import cache
from urllib.parse import unquote

from schedules_async.testing import operation_answer

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
GZIP = HEAD + b"Content-Encoding: gzip\r\n"
MUCH = 65536
A_MOMENT = b""  # for the client to take what it has
MOST_VALUES = 32_000  # a little less than the limit
GOOD = operation_answer("Started", percent_complete=10).body.replace(b"{operation_id}", b"operation")


def whole(body: bytes, head: bytes = HEAD) -> bytes:
    return head + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def endless(beginning: bytes, piece: bytes) -> Callable[[], Iterable[bytes]]:
    return lambda: itertools.chain([beginning], itertools.repeat(piece))


def once(make: Callable[[], bytes]) -> Callable[[], Iterable[bytes]]:
    return cache(lambda: (make(),))


def zeros(size: int) -> Iterator[bytes]:
    return itertools.repeat(bytes(MUCH), size // MUCH)


def bomb(layers: int) -> bytes:
    """Return 100 MB of zeros, compressed `layers` times."""
    compress = zlib.compressobj(9, wbits=31)
    data = b"".join(compress.compress(piece) for piece in zeros(100_000_000)) + compress.flush()
    for _ in range(layers - 1):
        data = gzip.compress(data, 9)
    return data


def endless_gzip() -> Iterator[bytes]:
    compress = zlib.compressobj(9, wbits=31)
    yield GZIP + b"\r\n"
    while True:
        yield compress.compress(bytes(MUCH * 16))


def gzip_with_a_tail() -> Iterator[bytes]:
    yield GZIP + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(gzip.compress(GOOD))
    yield from itertools.repeat(chunk(b"x") * 1000, 1100)


def many(value: bytes, count: int) -> bytes:
    return b'{"operation": [' + b",".join([value] * count) + b"]}"


ANSWERS: dict[str, Callable[[], Iterable[bytes]]] = {
    "good": once(lambda: whole(GOOD)),
    # bodies
    "gzip bomb": once(lambda: whole(bomb(1), GZIP)),
    "gzip bomb in gzip": once(lambda: whole(bomb(2), GZIP)),
    "gzip bomb in gzip, declared": once(lambda: whole(bomb(2), HEAD + b"Content-Encoding: gzip, gzip\r\n")),
    "deflate bomb": once(lambda: whole(zlib.compress(bytes(100_000_000), 9), HEAD + b"Content-Encoding: deflate\r\n")),
    "endless gzip": endless_gzip,
    "gzip with a tail": gzip_with_a_tail,
    "endless chunks": endless(CHUNKED, chunk(b"x" * MUCH)),
    "endless small chunks": endless(CHUNKED, chunk(b"x") * 10_000),
    "endless chunk size": endless(CHUNKED, b"0" * MUCH),
    "endless chunk extension": endless(CHUNKED + b"1;a=", b"x" * MUCH),
    "endless chunk extensions": endless(CHUNKED + b"1", b";a=b" * 16384),
    "100 MB": endless(HEAD + b"Content-Length: 100000000\r\n\r\n", b"x" * MUCH),
    "until the end, which never comes": endless(HEAD + b"\r\n", b"x" * MUCH),
    "304 with a body": endless(b"HTTP/1.1 304 Not Modified\r\n\r\n", b"x" * MUCH),
    "101": endless(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", b"x" * MUCH),
    "upgrade": endless(HEAD + b"Upgrade: websocket\r\nConnection: upgrade\r\n\r\n", b"x" * MUCH),
    # heads
    "endless headers": endless(HEAD, b"X-Y: zzzzzzzzz\r\n" * 4096),
    "endless long headers": endless(HEAD, b"X-Y: " + b"z" * 8000 + b"\r\n"),
    "endless header": endless(HEAD + b"X: ", b"y" * MUCH),
    "endless header name": endless(HEAD, b"y" * MUCH),
    "endless folded header": endless(HEAD + b"X: y\r\n", b" y\r\n" * 16384),
    "endless reason": endless(b"HTTP/1.1 200 ", b"y" * MUCH),
    "endless trailers": endless(CHUNKED + b"0\r\n", b"X-Y: zzzzzzzzz\r\n" * 4096),
    "endless trailer": endless(CHUNKED + b"0\r\nX: ", b"y" * MUCH),
    "endless blank lines": endless(b"", b"\r\n" * 32768),
    "endless 100": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    "endless 103": endless(b"", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 1000),
    "endless long 102": endless(b"", b"HTTP/1.1 102 Processing\r\n" + (b"X: %s\r\n" % (b"y" * 8000)) * 100 + b"\r\n"),
    "cookies": once(lambda: whole(GOOD, HEAD + (b"Set-Cookie: a=%s\r\n" % (b"x" * 8000)) * 100)),
    # what comes after an answer
    "more answers": endless(whole(GOOD), whole(GOOD) * 500),
    "more answers, later": lambda: itertools.chain([whole(GOOD), A_MOMENT], itertools.repeat(whole(b"") * 1000)),
    "garbage after an answer": endless(whole(GOOD), b"x" * MUCH),
    # JSON
    "deep lists": once(lambda: whole(b"[" * 1_000_000)),
    "deep lists, just allowed": once(lambda: whole(b"[" * MOST_VALUES)),
    "many lists": once(lambda: whole(many(b"[]", 340_000))),
    "many objects": once(lambda: whole(many(b'{"a":0}', 130_000))),
    "many objects, just allowed": once(lambda: whole(many(b'{"a":"bb"}', MOST_VALUES // 2))),
    "many deep objects, just allowed": once(
        lambda: whole(many(b'{"a":' * 800 + b"0" + b"}" * 800, MOST_VALUES // 801))
    ),
    "many details": once(lambda: whole(many(b"{}", 340_000).replace(b"operation", b"error"), b"HTTP/1.1 500 Oops\r\n")),
    "many numbers": once(lambda: whole(many(b"1.5", 260_000))),
    "long numbers": once(lambda: whole(many(b"1" * 4000, 260))),
    "wide text": once(lambda: whole(b'\xef\xbb\xbf{"operation": "\xf0\x9f\x98\x80' + b"x" * 1_000_000 + b'"}')),
}


@asynccontextmanager
async def hostile_server() -> AsyncIterator[str]:
    """Run the server and yield its URL; it sends each answer as fast as it is read, until the client disconnects."""
    talks = set()
    for make in ANSWERS.values():  # before a client counts the seconds
        next(iter(make()))

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.add(asyncio.current_task())
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while request := await reader.readuntil(b"\r\n\r\n"):
                for piece in ANSWERS[unquote(request.decode().split("/")[2])]():
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0.05 if piece is A_MOMENT else 0)
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    for task in filter(None, talks):
        task.cancel()
    await asyncio.gather(*filter(None, talks), return_exceptions=True)
