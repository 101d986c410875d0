"""What one session's wait for 10,000 operations costs: memory, connections, lag of the event loop, CPU time.

Run: python tests/benchmarks/cost_of_scale.py [--only tasks|group] [--inside]. The server runs in a process of its
own, and so does each measurement: of a tenth of the waits (the middle one of three) and of all, as tasks of
`wait_for_operation` and as one group. Each operation is looked at twice, at once and at its end, with a pause between
in which nothing is due and the lag is measured; once more it is while the Standard tier's budget is spent. Prints one
line a measurement, and exits 1 when something is above its bound. With --inside it prints where the time and the
memory of all go instead.
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
MOST_MEGABYTES = 60.0
MOST_CONNECTIONS = 100
MOST_LAG = 0.020
MOST_TIMES = 12.0
TICK = 0.010
WATCHED = 10.0  # seconds in which the lag is measured
PAUSES = {FEW: 15.0, MANY: 60.0}  # long enough that the first looks and the lag are through
UNLIMITED = (RateLimit(1_000_000, 1),)
TOP = 10


@define
class Figures:
    """What one process measured; times in seconds."""

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
    def is_good(self) -> bool:
        """Tell whether everything is within its bound."""
        lag = max(self.idle_lag, self.busy_lag)
        return self.megabytes <= MOST_MEGABYTES and self.connections <= MOST_CONNECTIONS and lag <= MOST_LAG

    def __str__(self) -> str:
        return (
            f"{self.form:5} {self.count:6} {self.megabytes:6.1f} MB {self.connections:4} connections   "
            f"lag {1000 * self.idle_lag:5.1f} ms idle {1000 * self.busy_lag:5.1f} ms busy   "
            f"CPU {self.start:6.2f} s start {self.finish:6.2f} s finish {self.cancel:6.2f} s cancel"
        )


def tasks(session: SchedulesSession, refs: list[OperationRef]) -> asyncio.Future[Any]:
    """Wait in a task for each operation."""
    return asyncio.gather(*[session.wait_for_operation(*ref) for ref in refs])


def group(session: SchedulesSession, refs: list[OperationRef]) -> asyncio.Future[Any]:
    """Wait for all at once."""
    waiting: asyncio.Future[Any] = asyncio.ensure_future(methodcaller("wait_for_operations", refs)(session))
    return waiting


FORMS: dict[str, Callable[[SchedulesSession, list[OperationRef]], asyncio.Future[Any]]] = {
    "tasks": tasks,
    "group": group,
}


@contextmanager
def serving(figures: Figures) -> Iterator[str]:
    """Run the server; give its URL, and note in the end how many connections it had at once."""
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
    """Give what the process holds in memory now."""
    pages = Path("/proc/self/statm").read_text("ascii").split()[1]
    return int(pages) * getpagesize() / 1e6


async def lag() -> float:
    """Give how late a ticker ticks, at worst but for one time in a hundred."""
    late = []
    until = time.perf_counter() + WATCHED
    while (now := time.perf_counter()) < until:
        await asyncio.sleep(TICK)
        late.append(time.perf_counter() - now - TICK)
    return sorted(late)[len(late) * 99 // 100]


@contextmanager
def cpu_seconds(figures: Figures, name: str) -> Iterator[None]:
    """Note the CPU time that this process takes."""
    before = time.process_time()
    yield
    setattr(figures, name, time.process_time() - before)


async def seen(session: SchedulesSession, count: int) -> None:
    """Wait until so many changes were seen."""
    for _ in itertools.takewhile(lambda _: session.stats.updates < count, itertools.count()):
        await asyncio.sleep(0.05)


async def give_up(waiting: asyncio.Future[Any]) -> None:
    """Cancel all waits."""
    waiting.cancel()
    with suppress(asyncio.CancelledError):
        await waiting


def make_refs(count: int) -> list[OperationRef]:
    """Name operations, as the service does."""
    return [OperationRef(str(uuid.uuid4()), str(uuid.uuid4())) for _ in range(count)]


async def start_and_finish(figures: Figures, url: str) -> None:
    """Wait for all, to the end."""
    refs, policy = make_refs(figures.count), PollingPolicy.fixed(PAUSES[figures.count])
    async with SchedulesSession("token", base_url=url, polling=policy, rate_limits=UNLIMITED) as session:
        await session.get_operation("another", "operation")
        before = megabytes()
        with cpu_seconds(figures, "start"):
            waiting = FORMS[figures.form](session, refs)
            await seen(session, figures.count)
        figures.megabytes = megabytes() - before
        figures.idle_lag = await lag()
        with cpu_seconds(figures, "finish"):
            await waiting


async def spend_and_cancel(figures: Figures, url: str) -> None:
    """Wait for all while the Standard tier's budget is spent, and give up."""
    refs = make_refs(figures.count)
    async with SchedulesSession("token", base_url=url, rate_limits=STANDARD_TIER) as session:
        waiting = FORMS[figures.form](session, refs)
        await seen(session, 1)
        figures.busy_lag = await lag()
        with cpu_seconds(figures, "cancel"):
            await give_up(waiting)
            await session.close()


def measure(figures: Figures) -> None:
    """Measure in this process."""
    for job in (start_and_finish, spend_and_cancel):
        with serving(figures) as url:
            asyncio.run(job(figures, url))
    print(json.dumps(asdict(figures)))


async def trace(figures: Figures, url: str) -> None:
    """Print what holds the memory while all wait."""
    refs = make_refs(figures.count)
    async with SchedulesSession("token", base_url=url, polling=PollingPolicy.fixed(900), rate_limits=UNLIMITED) as it:
        tracemalloc.start()
        waiting = FORMS[figures.form](it, refs)
        await seen(it, figures.count)
        statistics = tracemalloc.take_snapshot().statistics("lineno")
        tracemalloc.stop()
        await give_up(waiting)
    print(f"{figures.form}: bytes for each wait, {sum(each.size for each in statistics) / figures.count:.0f} in all")
    for each in statistics[:TOP]:
        print(f"{each.size / figures.count:8.0f}  {each.traceback}")


def look_inside(figures: Figures) -> None:
    """Print where the time of start and finish goes, and where the memory."""
    with serving(figures) as url, cProfile.Profile() as profile:
        asyncio.run(start_and_finish(figures, url))
    pstats.Stats(profile).sort_stats("tottime").print_stats(TOP)
    with serving(figures) as url:
        asyncio.run(trace(figures, url))


def in_a_process_of_its_own(form: str, count: int) -> Figures:
    """Measure there."""
    command = [sys.executable, __file__, "--only", form, "--count", str(count)]
    return Figures(**json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))


def compare(form: str) -> bool:
    """Measure a form, print, and tell whether it is within the bounds."""
    several = [in_a_process_of_its_own(form, FEW) for _ in range(3)]
    few, many = sorted(several, key=lambda each: each.start + each.finish)[1], in_a_process_of_its_own(form, MANY)
    times = (many.start + many.finish) / (few.start + few.finish)
    print(few, many, f"{form:5} {MANY} waits take {times:.1f} times the CPU time of {FEW}", sep="\n", flush=True)
    return few.is_good and many.is_good and times <= MOST_TIMES


def read_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", choices=FORMS)
    parser.add_argument("--inside", action="store_true", help="where the time and the memory go")
    parser.add_argument("--count", type=int, choices=(FEW, MANY), help="measure these many in this process")
    return parser.parse_args()


def main() -> int:
    """Measure, print."""
    options = read_options()
    if options.count:
        measure(Figures(options.only, options.count))
        return 0
    forms = [options.only] if options.only else list(FORMS)
    if not hasattr(SchedulesSession, "wait_for_operations"):
        forms.remove("group")
    if options.inside:
        for form in forms:
            look_inside(Figures(form, MANY))
        return 0
    results = [compare(form) for form in forms]
    print(f"(bounds: {MOST_MEGABYTES:g} MB, {MOST_CONNECTIONS} connections, lag {MOST_LAG:g} s, {MOST_TIMES:g} times)")
    return not all(results)


if __name__ == "__main__":
    sys.exit(main())
