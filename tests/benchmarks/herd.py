"""Many concurrent waits: operations of 3 to 12 s under a quota of 25 requests a second, also with other libraries.

Run: python tests/benchmarks/herd.py [--operations 300] [--runs N] [--only NAME]. The other libraries are extra:
pip install --group bench; one that is missing is reported and skipped. All poll every second, over real HTTP on the
loopback, and the project also by its own policy. The server runs in a process of its own and reports progress in
steps of 5 percent. Prints a table of requests, the share that was throttled, the waits that raised or had not ended
after two minutes, the mean and maximum seconds from an operation's end to that of its wait, and the total time; of
several runs the medians. The first four lines are the project's. A second line names the exceptions of lost waits.
"""

import argparse
import asyncio
import math
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import aiohttp
from attrs import astuple, frozen
from herd_peers import PARTICIPANTS, Participant, Wait

SHORTEST, LONGEST = 3.0, 12.0
SEED = 1
TIMEOUT = 120.0
HEAD = f"{'':32}{'requests':>9}{'throttled':>10}{'lost':>6}{'lag mean':>10}{'max':>7}{'all':>8}"


@frozen
class Result:
    """The measurements of one run."""

    requests: float
    throttled: float
    lost: float
    mean_lag: float
    longest_lag: float
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.requests:9.0f}{self.throttled:10.1%}{self.lost:6.0f}"
            f"{self.mean_lag:8.2f} s{self.longest_lag:5.1f} s{self.seconds:6.1f} s"
        )


@contextmanager
def serving() -> Iterator[str]:
    """Run the server within the block and yield its URL."""
    command = [sys.executable, str(Path(__file__).with_name("herd_server.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield f"http://127.0.0.1:{server.stdout.readline().strip() if server.stdout else ''}"
        finally:
            server.terminate()


async def lag(wait: Wait, name: str, end: float) -> float:
    """Return the seconds from the end of the operation to that of its wait; both processes have the same clock."""
    await wait(name)
    return time.monotonic() - end


async def run(participant: Participant, url: str, durations: list[float], losses: set[str]) -> Result:
    """Run a participant's waits; add the names of their exceptions to `losses`."""
    names = [f"operation-{number}" for number in range(len(durations))]
    async with aiohttp.ClientSession() as http, participant.open(url, names) as wait:
        async with http.post(f"{url}/herd", json=durations) as response:
            ends = await response.json()
        started = time.monotonic()
        waits = [asyncio.ensure_future(lag(wait, name, ends[name])) for name in names]
        _, pending = await asyncio.wait(waits, timeout=TIMEOUT)
        seconds = time.monotonic() - started
        for task in pending:
            task.cancel()
        outcomes = await asyncio.gather(*waits, return_exceptions=True)
        lags = [each for each in outcomes if isinstance(each, float)] or [math.nan]
        losses |= {type(each).__name__ for each in outcomes if not isinstance(each, float)}
        async with http.get(f"{url}/herd") as response:
            counts = await response.json()
    share = counts["throttled"] / counts["requests"]
    lost = len(names) - sum(isinstance(each, float) for each in outcomes)
    return Result(counts["requests"], share, lost, statistics.fmean(lags), max(lags), seconds)


def measure(participant: Participant, operations: int, runs: int) -> tuple[Result, set[str]]:
    """Return the medians, and the names of the exceptions of lost waits."""
    results, losses = [], set[str]()
    for number in range(runs):
        durations = random.Random(SEED + number)
        with serving() as url:
            herd = [durations.uniform(SHORTEST, LONGEST) for _ in range(operations)]
            results.append(asyncio.run(run(participant, url, herd, losses)))
    return Result(*(statistics.median(column) for column in zip(*map(astuple, results), strict=True))), losses


def line(participant: Participant, operations: int, runs: int) -> str:
    """Return the lines to print for a participant."""
    try:
        name = " ".join([participant.name, *map(version, participant.packages[:1])])
        result, losses = measure(participant, operations, runs)
    except ImportError as error:
        return f"{participant.name:32} skipped: {error}"
    return f"{name:32}{result}" + (f"\n    (lost by {', '.join(sorted(losses))})" if losses else "")


def main() -> None:
    """Run the benchmark and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--operations", type=int, default=100)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--only", default="", help="only participants with this in their name")
    options = parser.parse_args()
    print(f"{options.operations} operations, median of {options.runs}\n{HEAD}")
    for participant in PARTICIPANTS:
        if options.only in participant.name:
            print(line(participant, options.operations, options.runs), flush=True)


if __name__ == "__main__":
    main()
