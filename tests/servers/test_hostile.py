"""Whatever a server sends, a fetch ends in time with a typed error, and takes little memory."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from schedules_async import RetryPolicy, SchedulesSession, TransportError
from servers.hostile import ANSWERS, hostile_server

pytestmark = pytest.mark.servers

MOST_MEMORY = 16_000  # kB


async def measure(url: str, *names: str) -> list[tuple[str, str, int]]:
    """Return the name, the outcome and the growth of the memory in kB for each answer."""
    script = Path(__file__).with_name("measure_memory.py")
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", str(script), url, *names, stdout=asyncio.subprocess.PIPE
    )
    try:
        output, _ = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
    assert child.returncode == 0
    return [(name, outcome, growth) for name, outcome, growth in map(json.loads, output.splitlines())]


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
async def test_hostile_answer_takes_little_memory() -> None:
    """Neither during an answer nor after it."""
    async with hostile_server() as url:
        measured = await measure(url, *ANSWERS)
    assert [name for name, _, _ in measured] == list(ANSWERS)
    assert [row for row in measured if row[2] > MOST_MEMORY] == []
    assert {outcome for _, outcome, _ in measured} >= {"Started", "MalformedResponseError", "TransportError"}


async def drip_a_head(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while not writer.is_closing():
        writer.write(b"X: y\r\n")
        await asyncio.sleep(0.01)


async def drip_a_body(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while not writer.is_closing():
        writer.write(b" ")
        await asyncio.sleep(0.01)


async def drip_answers(writer: asyncio.StreamWriter) -> None:
    while not writer.is_closing():
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await asyncio.sleep(0.01)


async def say_nothing(_: asyncio.StreamWriter) -> None:
    """Send nothing, not even a TLS handshake."""


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("talk", [drip_a_head, drip_a_body, drip_answers, say_nothing])
async def test_attempt_ends_within_the_request_timeout(
    talk: Callable[[asyncio.StreamWriter], Awaitable[None]], scheme: str
) -> None:
    """Over TLS, plain bytes fail at once and silence does not."""
    talks = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.add(asyncio.ensure_future(talk(writer)))
        with suppress(ConnectionError):
            await reader.read()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server, asyncio.timeout(60):
        url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        retry = RetryPolicy(attempts=2, base=0)
        async with SchedulesSession("token", base_url=url, request_timeout=0.2, retry=retry) as session:
            with pytest.raises(TransportError):
                await session.get_operation("schedule", "operation")
            assert (session.stats.requests, session.stats.retried) == (2, 1)
    await asyncio.gather(*talks)
