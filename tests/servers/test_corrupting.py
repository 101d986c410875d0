"""A server that corrupts, cuts, stalls, resets and sends unrequested answers at random.

A `FakeSchedules` cannot take its place: it sends every byte of an answer as it is.
"""

import asyncio
import gzip
import hashlib
import json
import random
import socket
import struct
from collections import Counter
from contextlib import suppress

import pytest
from attrs import define, field, frozen
from sessions import UNLIMITED

from schedules_async import Operation, RetryPolicy, SchedulesError, SchedulesSession

pytestmark = pytest.mark.servers

OPERATIONS, POLLS = 50, 20
HARMS = (*["none"] * 12, "corrupt", "corrupt", "corrupt", "cut", "reset", "pieces", "unasked", "unasked, later")
LINGER_ZERO = struct.pack("ii", 1, 0)  # closing sends a reset


def to_answer(operation_id: str, count: int, tag: str) -> bytes:
    """Return an answer with this count; it is compressed, so that a wrong bit is noticed."""
    operation = {"id": operation_id, "status": "Started", "percentComplete": count}
    body = gzip.compress(json.dumps({"operation": operation}).encode())
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nETag: {tag}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@frozen
class Exchange:
    """One request and its answer."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    chance: random.Random
    operation_id: str
    answer: bytes

    async def send(self, harm: str) -> bool:
        """Send the answer, damaged as `harm` says; return True if the connection stays open."""
        place = self.chance.randrange(len(self.answer))
        if harm == "pieces":
            for byte in self.answer:
                self.writer.write(bytes([byte]))
                await self.writer.drain()
                await asyncio.sleep(0)
        else:
            self.writer.write(self._spoil(harm, place))
        if harm == "stall":
            await self.reader.read()
        if harm == "reset":
            self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
        if harm == "unasked, later":  # the next request may be under way, and HTTP/1.1 takes it for its answer
            await asyncio.sleep(0.001)
            self.writer.write(to_answer("another", -1, '"another"'))
        return harm not in ("cut", "reset", "stall", "unasked, later")

    def _spoil(self, harm: str, place: int) -> bytes:
        if harm in ("cut", "reset", "stall"):
            return self.answer[:place]
        if harm == "corrupt":
            wrong = self.answer[place] ^ self.chance.randint(1, 255)
            return self.answer[:place] + bytes([wrong]) + self.answer[place + 1 :]
        return self.answer + (to_answer(self.operation_id, -1, '"stale"') if harm == "unasked" else b"")


@define(eq=False)
class CorruptingServer:
    """A server with a count for each operation, which grows at random."""

    seed: int
    counts: Counter[str] = field(init=False, factory=Counter)
    harms: Counter[str] = field(init=False, factory=Counter)
    connections: "set[asyncio.Task[None] | None]" = field(init=False, factory=set)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer requests until an answer or the client ends the connection."""
        self.connections.add(asyncio.current_task())
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while not writer.is_closing():
                exchange = self.take(reader, writer, await reader.readuntil(b"\r\n\r\n"))
                harm = "stall" if exchange.chance.random() < 0.01 else exchange.chance.choice(HARMS)
                self.harms[harm] += 1
                if not await exchange.send(harm):
                    writer.close()
        writer.close()

    def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> Exchange:
        """Return the request with the correct answer to it."""
        chance = random.Random(f"{self.seed} {self.harms.total()}")
        operation_id = request.split(b" ")[1].rpartition(b"/")[2].decode()
        self.counts[operation_id] += chance.random() < 0.3
        count = self.counts[operation_id]
        tag = f'"{hashlib.sha256(f"{operation_id} {count}".encode()).hexdigest()[:16]}"'
        is_held = f"\r\nIf-None-Match: {tag}\r\n".encode() in request
        not_modified = f"HTTP/1.1 304 Not Modified\r\nETag: {tag}\r\n\r\n".encode()
        return Exchange(
            reader, writer, chance, operation_id, not_modified if is_held else to_answer(operation_id, count, tag)
        )


async def fetch_and_judge(server: CorruptingServer, session: SchedulesSession, operation_id: str) -> str:
    """Fetch once; "right" means a count that the server had during the request."""
    before = server.counts[operation_id]
    try:
        operation: Operation = await asyncio.wait_for(session.get_operation("schedule", operation_id), 30)
    except SchedulesError as error:
        return type(error).__name__
    is_right = before <= operation.percent_complete <= server.counts[operation_id]
    return "right" if is_right else f"{operation_id}: {operation.percent_complete} after {before}"


@pytest.mark.parametrize("seed", range(3))
async def test_corrupted_answers_give_snapshots_or_typed_errors(seed: int) -> None:
    server = CorruptingServer(seed)

    async def fetch_often(session: SchedulesSession, operation_id: str) -> list[str]:
        return [await fetch_and_judge(server, session, operation_id) for _ in range(POLLS)]

    async with await asyncio.start_server(server.talk, "127.0.0.1", 0) as listening, asyncio.timeout(120):
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        async with SchedulesSession(
            "token", base_url=url, request_timeout=1, retry=RetryPolicy(attempts=1), rate_limits=UNLIMITED
        ) as session:
            results = await asyncio.gather(*(fetch_often(session, f"o{number}") for number in range(OPERATIONS)))
            assert session.stats.requests >= OPERATIONS * POLLS
        await asyncio.gather(*filter(None, server.connections))  # each ends once the client's socket is closed
    outcomes = Counter(outcome for polls in results for outcome in polls)
    assert outcomes.total() == OPERATIONS * POLLS
    wrong = outcomes.keys() - {"right", "TransportError", "MalformedResponseError", "ResponseError", "ServerError"}
    assert wrong == set()
    assert outcomes["right"] > outcomes.total() / 2
    assert set(server.harms) == {*HARMS, "stall"}
