"""The cost and the detection delay of polling policies: mean polls and mean seconds of delay for each operation.

Run: PYTHONPATH=tests/support:tests/tools python tests/benchmarks/efficiency.py [operations].
A seeded simulation of the given number of operations (100) in each of 48 workloads: three distributions of durations
(log-uniform from 2 s to 6 h, log-normal around 2 min, Pareto from 10 s) with sixteen kinds of reported progress each.
Prints two tables: the polls and the delay of each policy by kind of progress; and the polls and the delay of this
project's policies over those of the others, as geometric means over the workloads, with the number of workloads on
which both are lower.
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
    """Return the intervals of `backoff.expo` with full jitter: up to 1 s, doubled after each poll up to 60 s."""
    longest = 0.5

    def decide(_t: float, _status: str, _fraction: float, _started: float, u: float) -> float:
        nonlocal longest
        longest = min(2 * longest, 60.0)
        return u * longest

    return decide


def simulated(make: Callable[[int], Decide]) -> Callable[[list[Run]], Score]:
    """Return the score of a policy, simulated poll by poll."""
    return lambda runs: measure(runs, make)


OURS = {"default": PollingPolicy(), "`EAGER`": PollingPolicy.EAGER, "`FRUGAL`": PollingPolicy.FRUGAL}
OTHERS: dict[str, Callable[[list[Run]], Score]] = {
    "fixed 1 s": fixed(1),
    "fixed 5 s": fixed(5),
    "fixed 30 s (azure-core)": fixed(30),
    "`backoff.expo` to 60 s, full jitter": simulated(exponential),
    "google-api-core (1 s x1.5 to 20 s, full jitter)": simulated(google),
}


def format_by_kind(scores: list[Score], workloads: list[Workload]) -> str:
    """Return the cells of a policy: mean polls and delay by kind of progress."""
    cells = []
    for shapes in KINDS.values():
        of_kind = [score for score, each in zip(scores, workloads, strict=True) if each.shape in shapes]
        cells.append(f"{fmean(each.polls for each in of_kind):.0f} / {fmean(each.delay for each in of_kind):.1f}")
    return " | ".join(cells)


def compare(scores: list[Score], others: list[Score]) -> str:
    """Return the ratio of the polls, that of the delays, and on how many workloads both are lower."""
    pairs = list(zip(scores, others, strict=True))
    polls = geometric_mean(own.polls / other.polls for own, other in pairs)
    delay = geometric_mean(own.delay / other.delay for own, other in pairs)
    wins = sum(own.polls < other.polls and own.delay < other.delay for own, other in pairs)
    return f"x{polls:.2f} / x{delay:.2f}, {wins} of {len(pairs)}"


def main() -> None:
    """Run the simulation and print the tables."""
    workloads = make_workloads(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
    own = {name: [measure(each.runs, by_policy(policy)) for each in workloads] for name, policy in OURS.items()}
    others = {name: [score(each.runs) for each in workloads] for name, score in OTHERS.items()}
    print(f"| policy | {' | '.join(KINDS)} |\n|---|{'---|' * len(KINDS)}")
    for name, scores in {**others, **own}.items():
        print(f"| {name} | {format_by_kind(scores, workloads)} |")
    print(f"\n| against | {' | '.join(own)} |\n|---|{'---|' * len(own)}")
    for name, scores in others.items():
        print(f"| {name} | {' | '.join(compare(ours, scores) for ours in own.values())} |")


if __name__ == "__main__":
    main()
