"""The cost of 10,000 waits in one session: memory, connections, lag of the event loop, CPU time.

Run: python tests/benchmarks/cost_of_scale.py [--only tasks|group] [--inside]. The server and each measurement run in
processes of their own. Measured are 1,000 waits (three times) and 10,000 (twice), as tasks of `wait_for_operation` and
as one group; of each the run with the least CPU time counts, since others on the machine can only add to it. Each
operation is polled twice, at once and at its end; the lag is measured in the interval between, in which nothing is due,
and again while the budget of the Standard tier is used up. Prints one line for each measurement and exits with 1 if one
is above its bound. With --inside it prints a profile of time and memory instead.
"""

import argparse
import asyncio
import cProfile
import itertools
import json
import pstats
import subprocess
import sys
import time
import tracemalloc
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from operator import methodcaller
from pathlib import Path
from resource import getpagesize
from typing import Any

from attrs import asdict, define

from schedules_async import STANDARD_TIER, OperationRef, PollingPolicy, RateLimit, SchedulesSession

FEW, MANY = 1_000, 10_000
MAX_MEGABYTES = 60.0
MAX_CONNECTIONS = 100
MAX_LAG = 0.020
MAX_RATIO = 12.0
TICK = 0.010
LAG_PERIOD = 10.0  # seconds for which the lag is measured
INTERVALS = {FEW: 15.0, MANY: 60.0}  # longer than the first polls and the measurement of the lag take
UNLIMITED = (RateLimit(1_000_000, 1),)
TOP = 10


@define
class Figures:
    """The measurements of one process; times in seconds."""

    form: str
    count: int
    megabytes: float = 0.0
    connections: int = 0
    idle_lag: float = 0.0
    busy_lag: float = 0.0
    start: float = 0.0
    finish: float = 0.0
    cancel: float = 0.0

    @property
    def cpu(self) -> float:
        """The CPU time from the start of the waits to their end."""
        return self.start + self.finish

    @property
    def is_good(self) -> bool:
        """True if everything is within its bound."""
        lag = max(self.idle_lag, self.busy_lag)
        return self.megabytes <= MAX_MEGABYTES and self.connections <= MAX_CONNECTIONS and lag <= MAX_LAG

    def __str__(self) -> str:
        return (
            f"{self.form:5} {self.count:6} {self.megabytes:6.1f} MB {self.connections:4} connections   "
            f"lag {1000 * self.idle_lag:5.1f} ms idle {1000 * self.busy_lag:5.1f} ms busy   "
            f"CPU {self.start:6.2f} s start {self.finish:6.2f} s finish {self.cancel:6.2f} s cancel"
        )


def tasks(session: SchedulesSession, refs: list[OperationRef]) -> asyncio.Future[Any]:
    """Wait for each operation in a task."""
    return asyncio.gather(*[session.wait_for_operation(*ref) for ref in refs])


def group(session: SchedulesSession, refs: list[OperationRef]) -> asyncio.Future[Any]:
    """Wait for all operations as a group."""
    waiting: asyncio.Future[Any] = asyncio.ensure_future(methodcaller("wait_for_operations", refs)(session))
    return waiting


FORMS: dict[str, Callable[[SchedulesSession, list[OperationRef]], asyncio.Future[Any]]] = {
    "tasks": tasks,
    "group": group,
}


@contextmanager
def serving(figures: Figures) -> Iterator[str]:
    """Run the server within the block, yield its URL, and record its maximum number of connections."""
    command = [sys.executable, str(Path(__file__).with_name("scale_server.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        if server.stdin is None or server.stdout is None:
            raise OSError("the server has no pipes")
        try:
            yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
            server.stdin.close()
            figures.connections = max(figures.connections, int(server.stdout.readline()))
        finally:
            server.terminate()


def megabytes() -> float:
    """Return the resident memory of the process."""
    pages = Path("/proc/self/statm").read_text("ascii").split()[1]
    return int(pages) * getpagesize() / 1e6


async def lag() -> float:
    """Return the 99th percentile of the delay of a periodic task."""
    delays = []
    end = time.perf_counter() + LAG_PERIOD
    while (now := time.perf_counter()) < end:
        await asyncio.sleep(TICK)
        delays.append(time.perf_counter() - now - TICK)
    return sorted(delays)[len(delays) * 99 // 100]


@contextmanager
def cpu_seconds(figures: Figures, name: str) -> Iterator[None]:
    """Record the CPU time of this process within the block."""
    before = time.process_time()
    yield
    setattr(figures, name, time.process_time() - before)


async def wait_for_updates(session: SchedulesSession, count: int) -> None:
    """Wait until the session has received this number of changes."""
    for _ in itertools.takewhile(lambda _: session.stats.updates < count, itertools.count()):
        await asyncio.sleep(0.05)


async def cancel_waits(waiting: asyncio.Future[Any]) -> None:
    """Cancel all waits and wait for their end."""
    waiting.cancel()
    with suppress(asyncio.CancelledError):
        await waiting


def make_refs(count: int) -> list[OperationRef]:
    """Return refs of new operations, with GUIDs as the service's ids."""
    return [OperationRef(str(uuid.uuid4()), str(uuid.uuid4())) for _ in range(count)]


async def start_and_finish(figures: Figures, url: str) -> None:
    """Wait for all operations to their end."""
    refs, policy = make_refs(figures.count), PollingPolicy.fixed(INTERVALS[figures.count])
    async with SchedulesSession("token", base_url=url, polling=policy, rate_limits=UNLIMITED) as session:
        await session.get_operation("another", "operation")
        before = megabytes()
        with cpu_seconds(figures, "start"):
            waiting = FORMS[figures.form](session, refs)
            await wait_for_updates(session, figures.count)
        figures.megabytes = megabytes() - before
        figures.idle_lag = await lag()
        with cpu_seconds(figures, "finish"):
            await waiting


async def saturate_and_cancel(figures: Figures, url: str) -> None:
    """Wait for all operations until the budget of the Standard tier is used up, then cancel."""
    refs = make_refs(figures.count)
    async with SchedulesSession("token", base_url=url, rate_limits=STANDARD_TIER) as session:
        waiting = FORMS[figures.form](session, refs)
        await wait_for_updates(session, 1)
        figures.busy_lag = await lag()
        with cpu_seconds(figures, "cancel"):
            await cancel_waits(waiting)
            await session.close()


def measure(figures: Figures) -> None:
    """Measure in this process and print the figures as JSON."""
    for job in (start_and_finish, saturate_and_cancel):
        with serving(figures) as url:
            asyncio.run(job(figures, url))
    print(json.dumps(asdict(figures)))


async def trace(figures: Figures, url: str) -> None:
    """Print the largest allocations during the waits."""
    refs = make_refs(figures.count)
    async with SchedulesSession(
        "token", base_url=url, polling=PollingPolicy.fixed(900), rate_limits=UNLIMITED
    ) as session:
        tracemalloc.start()
        waiting = FORMS[figures.form](session, refs)
        await wait_for_updates(session, figures.count)
        statistics = tracemalloc.take_snapshot().statistics("lineno")
        tracemalloc.stop()
        await cancel_waits(waiting)
    print(f"{figures.form}: bytes for each wait, {sum(each.size for each in statistics) / figures.count:.0f} in all")
    for each in statistics[:TOP]:
        print(f"{each.size / figures.count:8.0f}  {each.traceback}")


def profile_waits(figures: Figures) -> None:
    """Print a profile of the CPU time of start and finish, and of the memory."""
    with serving(figures) as url, cProfile.Profile() as profile:
        asyncio.run(start_and_finish(figures, url))
    pstats.Stats(profile).sort_stats("tottime").print_stats(TOP)
    with serving(figures) as url:
        asyncio.run(trace(figures, url))


def measure_in_process(form: str, count: int) -> Figures:
    """Return the figures of a measurement in a process of its own."""
    command = [sys.executable, __file__, "--only", form, "--count", str(count)]
    return Figures(**json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))


def compare(form: str) -> bool:
    """Measure one form, print the figures and return True if they are within the bounds."""
    few, many = ([measure_in_process(form, count) for _ in range(runs)] for count, runs in ((FEW, 3), (MANY, 2)))
    ratio = min(each.cpu for each in many) / min(each.cpu for each in few)
    print(*few, *many, f"{form:5} {MANY} waits take {ratio:.1f} times the CPU time of {FEW}", sep="\n", flush=True)
    return all(each.is_good for each in (*few, *many)) and ratio <= MAX_RATIO


def read_options() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", choices=FORMS)
    parser.add_argument("--inside", action="store_true", help="print a profile of time and memory")
    parser.add_argument("--count", type=int, choices=(FEW, MANY), help="measure this number of waits in this process")
    return parser.parse_args()


def main() -> int:
    """Run the benchmark and print the results."""
    options = read_options()
    if options.count:
        measure(Figures(options.only, options.count))
        return 0
    forms = [options.only] if options.only else list(FORMS)
    if not hasattr(SchedulesSession, "wait_for_operations"):
        forms.remove("group")
    if options.inside:
        for form in forms:
            profile_waits(Figures(form, MANY))
        return 0
    results = [compare(form) for form in forms]
    print(f"(bounds: {MAX_MEGABYTES:g} MB, {MAX_CONNECTIONS} connections, lag {MAX_LAG:g} s, {MAX_RATIO:g} times)")
    return not all(results)


if __name__ == "__main__":
    sys.exit(main())
