"""The cost and the detection delay of polling policies: mean polls and mean seconds of delay for each operation.

Run: PYTHONPATH=tests/support:tests/tools python tests/benchmarks/efficiency.py [operations].
A seeded simulation of the given number of operations (100) in each of 48 workloads: three distributions of durations
(log-uniform from 2 s to 6 h, log-normal around 2 min, Pareto from 10 s) with sixteen kinds of reported progress each.
Prints one line for each policy: mean polls and delay by kind of progress, then the polls, the delay and their product
relative to the intervals of google-api-core, as geometric means over the workloads.
"""

import math
import random
import sys
from collections.abc import Callable, Iterator
from itertools import chain
from statistics import fmean, geometric_mean

from attrs import frozen
from measure_policy import Decide
from simulation import (
    MORE_SHAPES,
    SHAPES,
    Durations,
    Run,
    Score,
    by_policy,
    google,
    log_uniform,
    measure,
    uneven,
    workload,
)

from schedules_async import PollingPolicy

LONGEST = 6 * 3600.0
ALL_SHAPES = {**SHAPES, **MORE_SHAPES}
EVEN = ("linear", "whole percents")
SHARE_ENDING_EARLY = 0.3
KINDS = {
    "honest": ("linear", "noisy", "whole percents", "s-curve", "unknown gaps"),
    "uneven": ("accelerating", "decelerating", "front-loaded", "paused"),
    "coarse": ("steps of 25", "stuck at 99"),
    "wrong": ("early exit", "starts again", "garbage"),
    "none": ("none",),
    "mixed": ("mixed",),
}
DURATIONS: dict[str, Durations] = {
    "log-uniform": lambda rng: log_uniform(rng, LONGEST),
    "log-normal": lambda rng: min(max(rng.lognormvariate(math.log(120), 1.3), 2.0), LONGEST),
    "pareto": lambda rng: min(10 * rng.paretovariate(0.9), LONGEST),
}
REFERENCE = "google-api-core, 1 to 20 s"


@frozen
class Workload:
    """Operations with one kind of progress and one distribution of durations."""

    shape: str
    runs: list[Run]


def make_runs(name: str, durations: Durations, count: int, rng: random.Random) -> Iterator[Run]:
    """Return runs of one shape, or of any for "mixed"."""
    if name == "mixed":
        names = rng.choices([*ALL_SHAPES, "early exit"], k=count)
        return chain.from_iterable(make_runs(each, durations, 1, rng) for each in names)
    is_early = name == "early exit"
    shape = ALL_SHAPES["linear" if is_early else name]
    return chain.from_iterable(
        workload(
            shape if name in EVEN else uneven(shape, rng), 1, rng, SHARE_ENDING_EARLY if is_early else 0.0, durations
        )
        for _ in range(count)
    )


def make_workloads(count: int) -> list[Workload]:
    """Return all workloads."""
    return [
        Workload(shape, list(make_runs(shape, durations, count, random.Random(f"{shape} {kind}"))))
        for shape in chain.from_iterable(KINDS.values())
        for kind, durations in DURATIONS.items()
    ]


def fixed(seconds: float) -> Callable[[list[Run]], Score]:
    """Return the score of polling at a fixed interval, which needs no simulation."""

    def score(runs: list[Run]) -> Score:
        intervals = [math.ceil(run.total / seconds) for run in runs]
        delays = (count * seconds - run.total for count, run in zip(intervals, runs, strict=True))
        return Score(1 + fmean(intervals), fmean(delays))

    return score


def exponential(_: int) -> Decide:
    """Return intervals of 1 s, doubled after each poll up to 60 s."""
    interval = 0.5

    def decide(_t: float, _status: str, _fraction: float, _started: float, _u: float) -> float:
        nonlocal interval
        interval = min(2 * interval, 60.0)
        return interval

    return decide


def simulated(make: Callable[[int], Decide]) -> Callable[[list[Run]], Score]:
    """Return the score of a policy, simulated poll by poll."""
    return lambda runs: measure(runs, make)


POLICIES: dict[str, Callable[[list[Run]], Score]] = {
    "fixed 1 s": fixed(1),
    "fixed 5 s": fixed(5),
    "fixed 30 s": fixed(30),
    "exponential, 1 to 60 s": simulated(exponential),
    REFERENCE: simulated(google),
    "ours, EAGER": simulated(by_policy(PollingPolicy.EAGER)),
    "ours": simulated(by_policy(PollingPolicy())),
    "ours, FRUGAL": simulated(by_policy(PollingPolicy.FRUGAL)),
}


def line(scores: list[Score], reference: list[Score], workloads: list[Workload]) -> str:
    """Return one line of the table."""
    pairs = list(zip(scores, reference, strict=True))
    polls = geometric_mean(own.polls / other.polls for own, other in pairs)
    delay = geometric_mean(own.delay / other.delay for own, other in pairs)
    cells = []
    for shapes in KINDS.values():
        of_kind = [score for score, each in zip(scores, workloads, strict=True) if each.shape in shapes]
        cells.append(f"{fmean(each.polls for each in of_kind):7.0f} {fmean(each.delay for each in of_kind):5.1f}")
    return "".join(cells) + f"   {polls:5.2f} {delay:5.2f} {polls * delay:5.2f}"


def main() -> None:
    """Run the simulation and print the results."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    workloads = make_workloads(count)
    results = {name: [score(each.runs) for each in workloads] for name, score in POLICIES.items()}
    print(f"{count} operations of each of {len(workloads)} workloads: polls, delay in seconds\n")
    print(f"{'':26}" + "".join(f"{kind:>13}" for kind in KINDS) + "   polls delay product")
    for name, scores in results.items():
        print(f"{name:26}{line(scores, results[REFERENCE], workloads)}")


if __name__ == "__main__":
    main()
