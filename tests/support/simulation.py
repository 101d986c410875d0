"""Operations in virtual time, to count the polls of a policy and to measure its detection delay."""

import heapq
import itertools
import math
import random
from collections.abc import Callable, Iterator
from statistics import fmean

from attrs import define, frozen
from measure_policy import Decide, Decisions, decide_by

from schedules_async._polling.policy import PollingPolicy

Shape = Callable[[float], float]  # from the share of the run to the fraction reported, nan for an Unknown status
Durations = Callable[[random.Random], float]

SHORTEST, LONGEST = 2.0, 2 * 3600.0
SHAPES: dict[str, Shape] = {
    "linear": lambda share: share,
    "whole percents": lambda share: math.floor(100 * share) / 100,
    "s-curve": lambda share: share * share * (3 - 2 * share),
    "accelerating": lambda share: share**2.5,
    "decelerating": lambda share: 1 - (1 - share) ** 2.5,
    "steps of 25": lambda share: math.floor(4 * share) / 4,
    "stuck at 99": lambda share: min(share / 0.7, 0.99),
    "starts again": lambda share: 2 * share % 1,
    "none": lambda _: 0.0,
}
MORE_SHAPES: dict[str, Shape] = {
    "noisy": lambda share: min(max(random.Random(share).gauss(share, 0.01), 0.0), 0.999),
    "front-loaded": lambda share: min(8 * share, 0.8 + (share - 0.1) * 2 / 9),
    "paused": lambda share: min(share, max(0.3, share - 0.4)) / 0.6,
    "unknown gaps": lambda share: math.nan if 5 * share % 1 < 0.4 else share,
    "garbage": lambda share: random.Random(share).random(),
}


@frozen
class Run:
    """One operation: Queued for `queued` seconds, then Started, and over after `total` of them."""

    queued: float
    planned: float
    total: float
    shape: Shape

    def see(self, t: float) -> tuple[str, float, float]:
        """Return status, fraction and start, as a measuring harness passes them."""
        if t < self.queued:
            return "Queued", 0.0, math.nan
        fraction = self.shape((t - self.queued) / self.planned)
        return ("Unknown", 0.0, math.nan) if math.isnan(fraction) else ("Started", fraction, self.queued)


@frozen
class Score:
    """The cost of a policy: polls per operation, and the mean detection delay in seconds."""

    polls: float
    delay: float

    @property
    def product(self) -> float:
        """What no policy lowers by polling more or less alone."""
        return self.polls * self.delay


def log_uniform(rng: random.Random, longest: float = LONGEST) -> float:
    """Return a duration whose logarithm is uniformly distributed."""
    return SHORTEST * math.pow(longest / SHORTEST, rng.random())


def uneven(shape: Shape, rng: random.Random) -> Shape:
    """Return a shape that runs at another speed in each tenth of its time."""
    speeds = [rng.lognormvariate(0, 0.35) for _ in range(10)]
    done = [0.0, *itertools.accumulate(speeds)]

    def warped(share: float) -> float:
        tenth = min(int(10 * share), 9)
        return shape((done[tenth] + (10 * share - tenth) * speeds[tenth]) / done[-1])

    return warped


def workload(
    shape: Shape,
    count: int,
    rng: random.Random,
    share_ending_early: float = 0.0,
    durations: Durations = log_uniform,
) -> Iterator[Run]:
    """Yield `count` random runs."""
    for _ in range(count):
        queued = rng.random() + rng.choice((0.0, rng.expovariate(1 / 20)))
        planned = durations(rng)
        done = rng.random() if rng.random() < share_ending_early else 1.0
        yield Run(queued, planned, queued + planned * done, shape)


def google(_: int) -> Decide:
    """Return google-api-core's intervals: 1 s times 1.5 up to 20 s, with full jitter, whatever the progress."""
    longest = 1.0

    def decide(_t: float, _status: str, _fraction: float, _started: float, u: float) -> float:
        nonlocal longest
        pause, longest = u * longest, min(1.5 * longest, 20.0)
        return pause

    return decide


def by_policy(policy: PollingPolicy) -> Callable[[int], Decide]:
    """Return the decisions of a policy of this project."""
    return lambda number: decide_by(policy, number)


def poll_to_the_end(run: Run, decide: Decide, rng: random.Random) -> tuple[int, float]:
    """Poll at once and until the end is found; return the polls and the detection delay in seconds."""
    t, polls = 0.0, 1
    while t < run.total:
        t += decide(t, *run.see(t), rng.random())
        polls += 1
    return polls, t - run.total


def measure(runs: list[Run], make: Callable[[int], Decide], seed: int = 1) -> Score:
    """Poll every run to its end, each with decisions of its own; return the cost."""
    rng = random.Random(seed)
    results = [poll_to_the_end(run, make(number), rng) for number, run in enumerate(runs)]
    return Score(fmean(polls for polls, _ in results), fmean(delay for _, delay in results))


Range = tuple[bool, float]  # whether it contained the end, and its width as a share of the operation's life


@define(eq=False)
class Session:
    """What the polls of a session found, by operation in the order of their beginning."""

    polls: list[int]
    delays: list[float]
    _ranges: list[list[Range]]

    def score(self, first: int = 0, last: int | None = None) -> Score:
        """Return the cost of these operations."""
        return Score(fmean(self.polls[first:last]), fmean(self.delays[first:last]))

    def ranges(self, first: int = 0) -> list[Range]:
        """Return what became of the ranges that polls gave."""
        return list(itertools.chain.from_iterable(self._ranges[first:]))


def run_session(runs: list[Run], begin: Callable[[], Decide], at_once: int = 5, seed: int = 1) -> Session:
    """Poll every run to its end, so many at once: the next begins when an end is detected."""
    rng, waiting, due = random.Random(seed), iter(enumerate(runs)), list[tuple[float, int, float, Decide]]()
    session = Session([0] * len(runs), [0.0] * len(runs), [[] for _ in runs])
    for number, _ in itertools.islice(waiting, at_once):
        due.append((0.0, number, 0.0, begin()))
    while due:
        now, number, created, decide = heapq.heappop(due)
        run, t = runs[number], now - created
        session.polls[number] += 1
        if t < run.total:
            pause = decide(t, *run.see(t), rng.random())
            session._ranges[number] += judge(decide, t, run.total)
            heapq.heappush(due, (now + pause, number, created, decide))
        else:
            decide(t, "Succeeded", 1.0, run.total, rng.random())
            session.delays[number] = t - run.total
            for following, _ in itertools.islice(waiting, 1):
                heapq.heappush(due, (now, following, now, begin()))
    return session


def judge(decide: Decide, t: float, end: float) -> list[Range]:
    """Return what becomes of the range after a poll, if there is one."""
    remaining = decide.time_remaining(t) if isinstance(decide, Decisions) else None
    if remaining is None:
        return []
    return [(remaining.low <= end - t <= remaining.high, (remaining.high - remaining.low) / end)]
