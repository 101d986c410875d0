"""Servers of which a test writes every byte."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from schedules_async.testing import operation_answer


@asynccontextmanager
async def serve(
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    context: ssl.SSLContext | None = None,
) -> AsyncIterator[str]:
    """Serve every connection with `talk`, and cut it off in the end; return the URL."""
    writers: list[asyncio.StreamWriter] = []
    talks: list[asyncio.Task[None] | None] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        talks.append(asyncio.current_task())
        await reader.readuntil(b"\r\n\r\n")
        await talk(reader, writer)

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield f"http{'s' if context else ''}://127.0.0.1:{port}"
        for writer in writers:
            writer.close()
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)
        await asyncio.gather(*filter(None, talks), return_exceptions=True)


def to_answer(percent: float) -> bytes:
    """Return the bytes of an answer that reports so many percent."""
    body = operation_answer("Started", percent_complete=percent).body.replace(b"{operation_id}", b"operation")
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
