"""Measure what a poll that ends in 304 costs, beside bare aiohttp with the same headers.

Run: python tests/benchmarks/poll_cost.py [rounds]. The server runs in a process of its own; each round measures the
CPU time of both sides in this process, one after the other, on kept-alive connections. First one `get_operation` after
another beside bare requests; then 200 waits at a fixed interval beside a hand-written loop for each operation, which
polls conditionally and calls `asyncio.sleep`. Print the medians of the rounds' ratios, and exit with 1 when one is
above the bound.
"""

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable

import aiohttp

from schedules_async import Operation, OperationRef, OperationStatus, PollingPolicy, RateLimit, SchedulesSession
from schedules_async._http.responses import COMMON_HEADERS, request_headers

BOUND = 1.25
POLLS = 300
WAITS = 200
INTERVAL, SECONDS = 0.25, 1.5  # of the waits: each polls six times or so in a round
TOKEN = "a-token-for-the-benchmark"
FAST = [RateLimit(1_000_000_000, 1)]
HELD = {
    ref: Operation(ref.operation_id, ref.schedule_id, OperationStatus.STARTED, etag='"E1"')
    for ref in (OperationRef("schedule", f"operation-{number}") for number in range(WAITS))
}
FIRST = next(iter(HELD))

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


async def cpu_of_calls(fetch: Callable[[], Awaitable[object]]) -> float:
    """Return the CPU time of one call, in seconds."""
    started = time.process_time()
    for _ in range(POLLS):
        await fetch()
    return (time.process_time() - started) / POLLS


async def cpu_of_waits(start: Callable[[OperationRef], "asyncio.Task[object]"], count: Callable[[], int]) -> float:
    """Return the CPU time of one poll of many waits, in seconds."""
    tasks = [start(ref) for ref in HELD]
    await asyncio.sleep(2 * INTERVAL)  # the first polls open connections
    started, before = time.process_time(), count()
    await asyncio.sleep(SECONDS)
    seconds, polls = time.process_time() - started, count() - before
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    return seconds / polls


async def measure(url: str, rounds: int) -> tuple[list[float], list[float]]:
    """Return the ratios of calls and of waits, one of each for a round."""
    headers = {**COMMON_HEADERS, **request_headers(TOKEN, '"E1"')}
    sent = 0

    async def bare(http: aiohttp.ClientSession, ref: OperationRef) -> None:
        nonlocal sent
        sent += 1
        async with http.get(url + ref.path, headers=headers) as response:
            await response.read()

    async def loop(http: aiohttp.ClientSession, ref: OperationRef) -> None:
        while True:
            await bare(http, ref)
            await asyncio.sleep(INTERVAL)

    calls, waits = list[float](), list[float]()
    policy = PollingPolicy.fixed(INTERVAL)
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=WAITS)) as http,
        SchedulesSession(TOKEN, base_url=url, rate_limits=FAST, snapshots={**HELD}) as session,
    ):

        def wait(ref: OperationRef) -> "asyncio.Task[object]":
            return asyncio.create_task(session.wait_for_operation(ref, polling=policy))

        for number in range(rounds + 1):
            sides = [
                (cpu_of_calls(lambda: session.get_operation(FIRST)), cpu_of_calls(lambda: bare(http, FIRST))),
                (
                    cpu_of_waits(wait, lambda: session.stats.requests),
                    cpu_of_waits(lambda ref: asyncio.create_task(loop(http, ref)), lambda: sent),
                ),
            ]
            for ratios, (ours, theirs) in zip((calls, waits), sides, strict=True):
                if number % 2:
                    own, other = await ours, await theirs
                else:
                    other, own = await theirs, await ours
                ratios.append(own / other)
    return calls[1:], waits[1:]


def main() -> int:
    """Start the server, measure, print."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as server:
        try:
            port = server.stdout.readline().strip() if server.stdout else ""
            calls, waits = asyncio.run(measure(f"http://127.0.0.1:{port}", rounds))
        finally:
            server.terminate()
    for what, ratios in (("get_operation", calls), (f"{WAITS} waits at a fixed interval", waits)):
        median = statistics.median(ratios)
        print(f"{what}: a 304 costs {median:.2f} times bare aiohttp (from {min(ratios):.2f} to {max(ratios):.2f})")
    print(f"{rounds} rounds; the bound is {BOUND}")
    return max(statistics.median(calls), statistics.median(waits)) > BOUND


if __name__ == "__main__":
    sys.exit(main())
