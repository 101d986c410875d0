"""The real session over a simulated service in virtual time: hours of thousands of operations in seconds.

The event loop's own clock jumps to the next timer whenever nothing is ready; no socket is opened. Answers come from
memory, through the place of the transport.
"""

import asyncio
import json
import math
import random
import selectors
from collections.abc import Coroutine, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, TypeVar

from attrs import define, field, frozen
from multidict import CIMultiDict
from simulation import Run

from schedules_async import OperationRef, PollingPolicy, SchedulesSession
from schedules_async._http.responses import Answer
from schedules_async._polling.forecast import Progress

Value = TypeVar("Value")
ZERO = datetime(2026, 1, 1, tzinfo=UTC)


class _NothingToPoll(selectors.SelectSelector):
    """Moves the time on instead of waiting; there is only the loop's own socket, to poll when no timer is left."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            return super().select(None)
        self.now += timeout
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next timer.

    A `FakeClock` cannot take its place: it waits for real sockets before each jump, which takes some real time.
    """

    def __init__(self) -> None:
        self._jumping = _NothingToPoll()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


class LoopClock:
    """A `Clock` that reads the time of the running event loop, here virtual time."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def run(work: Coroutine[Any, Any, Value]) -> Value:
    """Run a coroutine in virtual time and return its result."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(work)


@frozen
class Job:
    """One operation, requested at `created`."""

    ref: OperationRef
    created: float
    run: Run

    def see(self, now: float) -> tuple[str, float, float]:
        """Return status, percent, and the time at which that status began."""
        age = now - self.created
        if age >= self.run.total:
            return "Succeeded", 100.0, self.created + self.run.total
        status, fraction, _ = self.run.see(age)
        return status, 100 * min(fraction, 0.999), self.created + (0.0 if status == "Queued" else self.run.queued)


@define(eq=False)
class Quota:
    """A fixed window of the service: `calls` requests are answered, further ones are throttled until its end."""

    calls: int
    per: float
    _window: float = field(init=False, default=-1.0)
    _used: int = field(init=False, default=0)

    def throttle(self, now: float) -> int | None:
        """Count a request; return the seconds of its Retry-After if it exceeds the quota."""
        if now // self.per != self._window:
            self._window, self._used = now // self.per, 0
        self._used += 1
        left = max(math.ceil((self._window + 1) * self.per - now), 1)
        return left if self._used > self.calls else None


@define(eq=False)
class SimulatedService:
    """Takes the place of a session's transport.

    A `FakeSchedules` cannot: it answers on real sockets, for which virtual time does not wait.
    """

    jobs: dict[OperationRef, Job]
    quota: Quota | None = None
    latency: float = 0.05
    sent: list[float] = field(init=False, factory=list)
    refused: int = field(init=False, default=0)
    polls: dict[OperationRef, list[float]] = field(init=False, factory=dict)
    delays: dict[OperationRef, float] = field(init=False, factory=dict)

    async def get(self, ref: OperationRef, token: object, tag: str | None) -> Answer:
        del token
        await asyncio.sleep(self.latency / 2)
        answer = self._answer(ref, asyncio.get_running_loop().time(), tag)
        await asyncio.sleep(self.latency / 2)
        return answer

    async def aclose(self) -> None:
        """There is nothing to close."""

    def _answer(self, ref: OperationRef, now: float, held: str | None) -> Answer:
        self.sent.append(now)
        headers = CIMultiDict({"Date": _http_date(int(now))})
        pause = self.quota.throttle(now) if self.quota is not None else None
        if pause is not None:
            self.refused += 1
            return Answer(429, CIMultiDict({**headers, "Retry-After": str(pause)}))
        self.polls.setdefault(ref, []).append(now)
        status, percent, since = self.jobs[ref].see(now)
        if status == "Succeeded":
            self.delays[ref] = now - since
        tag = f'"{status}{percent}"'
        if held == tag:
            return Answer(304, headers)
        document = {
            "id": ref.operation_id,
            "status": status,
            "percentComplete": percent,
            "createdAt": (ZERO + timedelta(seconds=self.jobs[ref].created)).isoformat(),
            "updatedAt": (ZERO + timedelta(seconds=since)).isoformat(),
        }
        return Answer(200, CIMultiDict({**headers, "ETag": tag}), json.dumps({"operation": document}).encode())


def _http_date(second: int) -> str:
    return format_datetime(ZERO + timedelta(seconds=second), usegmt=True)


def open_session(service: SimulatedService, **options: Any) -> SchedulesSession:
    """Return a session whose requests the simulated service answers, and whose random samples are always the same."""
    session = SchedulesSession("token", clock=LoopClock(), **options)
    vars(session).update(_transport=service, _random=random.Random(1).random)
    return session


def make_jobs(runs: Iterable[Run], spread: float, chance: random.Random) -> list[Job]:
    """Return jobs that are requested at times spread evenly over `spread` seconds."""
    return [
        Job(OperationRef("schedule", f"operation-{number}"), spread * chance.random(), run)
        for number, run in enumerate(runs)
    ]


async def wait_for_all(session: SchedulesSession, jobs: Sequence[Job]) -> None:
    """Wait for all jobs, beginning each wait when its operation is requested."""

    async def wait(job: Job) -> None:
        await asyncio.sleep(job.created)
        await session.wait_for_operation(*job.ref)

    async with session, asyncio.TaskGroup() as group:
        for job in jobs:
            group.create_task(wait(job))


@frozen
class GoogleIntervals(PollingPolicy):
    """The intervals of google-api-core: 1 s times 1.5 up to 20 s, with full jitter, whatever the progress."""

    longest: dict[Progress, float] = field(factory=dict, eq=False)

    def interval(self, progress: Progress, seed: float, sample: float, load: float = 1.0) -> float:
        del seed, load
        longest = self.longest.get(progress, 1.0)
        self.longest[progress] = min(1.5 * longest, 20.0)
        return max(sample * longest, 0.001)


def most_in_any_window(times: Sequence[float], per: float) -> int:
    """Return how many of these sorted times lie in the fullest window of `per` seconds."""
    first, most = 0, 0
    for last, time in enumerate(times):
        while times[first] <= time - per:
            first += 1
        most = max(most, last - first + 1)
    return most
