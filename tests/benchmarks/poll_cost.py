"""What a look that ends in 304 costs, beside a bare aiohttp request with the same headers.

Run: python tests/benchmarks/poll_cost.py [rounds]. The server runs in a process of its own; each round
measures the CPU time of both kinds in this process, one after the other, on a kept-alive connection. Prints
the median of the rounds' ratios, and exits 1 when it is above the bound.
"""

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable

import aiohttp

from schedules_async import Operation, OperationStatus, RateLimit, SchedulesSession
from schedules_async._http.responses import SAME_FOR_ALL, request_headers

BOUND = 1.35
POLLS = 300
TOKEN = "a-token-for-the-benchmark"
HELD = Operation("operation", "schedule", OperationStatus.STARTED, etag='"E1"')

SERVER = r"""
import asyncio

class Answer(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.text = transport, b""
    def data_received(self, data):
        self.text += data
        while b"\r\n\r\n" in self.text:
            _, _, self.text = self.text.partition(b"\r\n\r\n")
            self.transport.write(
                b'HTTP/1.1 304 Not Modified\r\nETag: "E1"\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n'
                b"Server: bench\r\nx-correlation-id: 8fb5dbdc\r\n\r\n"
            )

async def main():
    server = await asyncio.get_running_loop().create_server(Answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


async def cpu_seconds(look: Callable[[], Awaitable[object]]) -> float:
    """Measure the CPU time of a number of polls."""
    started = time.process_time()
    for _ in range(POLLS):
        await look()
    return time.process_time() - started


async def ratios(url: str, rounds: int) -> list[float]:
    """Measure both kinds in turn."""
    fast = RateLimit(1_000_000_000, 1)
    headers = {**SAME_FOR_ALL, **request_headers(TOKEN, HELD.etag)}
    address, schedule_id, operation_id = url + HELD.ref.path, *HELD.ref
    async with (
        aiohttp.ClientSession() as http,
        SchedulesSession(TOKEN, base_url=url, rate_limits=[fast], snapshots={HELD.ref: HELD}) as session,
    ):

        async def bare() -> None:
            async with http.get(address, headers=headers) as response:
                await response.read()

        async def ours() -> None:
            if await session.get_operation(schedule_id, operation_id) is not HELD:
                raise AssertionError("not the held snapshot")

        measured = []
        for number in range(rounds + 1):
            pair = (
                (await cpu_seconds(ours), await cpu_seconds(bare))
                if number % 2
                else reversed((await cpu_seconds(bare), await cpu_seconds(ours)))
            )
            own, other = pair
            measured.append(own / other)
        return measured[1:]


def main() -> int:
    """Start the server, measure, print."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 21
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as server:
        try:
            port = server.stdout.readline().strip() if server.stdout else ""
            measured = asyncio.run(ratios(f"http://127.0.0.1:{port}", rounds))
        finally:
            server.terminate()
    median = statistics.median(measured)
    print(f"a 304 through the session costs {median:.2f} times a bare request")
    print(f"({rounds} rounds from {min(measured):.2f} to {max(measured):.2f}; the bound is {BOUND})")
    return median > BOUND


if __name__ == "__main__":
    sys.exit(main())
