"""A session that learns from the operations that have ended, beside the same policy without learning.

Run: PYTHONPATH=tests/support:tests/tools python tests/benchmarks/siblings.py [operations [at once ...]].
A seeded simulation of sessions of the given number of operations (300), of which so many (1, 5 and 50) run at once: the
next one begins when an end is detected. Each of the 48 workloads of efficiency.py is one session; so are operations
that end at 70 % of their progress, mixtures of kinds, and kinds that follow each other. Prints for each policy the
product of polls and delay over the first fifty operations and over the others, relative to the same policy without
learning, to google-api-core's intervals and to a fixed 5 s, as geometric means; then how many of the ends
`time_remaining` contained, and its median width as a share of the run, without and with learning.
"""

import random
import sys
from collections.abc import Iterator
from itertools import chain
from statistics import fmean, geometric_mean, median

from attrs import frozen
from efficiency import DURATIONS, KINDS, fixed, make_runs
from measure_policy import alone, learn_by
from simulation import SHAPES, Run, Score, Session, google, run_session

from schedules_async import PollingPolicy

LEARNED = 50  # operations after which a session has learned
POLICIES = {"EAGER": PollingPolicy.EAGER, "default": PollingPolicy(), "FRUGAL": PollingPolicy.FRUGAL}
MIXTURES = (("linear", "ending early"), ("noisy", "garbage"), ("accelerating", "decelerating", "stuck at 99"))
WORST = 4  # workloads that are named


@frozen
class Result:
    """The sessions of one workload: without learning, with it, and by google-api-core's intervals."""

    group: str
    name: str
    alone: Session
    learned: Session
    google: Session
    fixed: Score

    def product(self, first: int = LEARNED, last: int | None = None) -> float:
        """Return polls times delay with learning over those without."""
        return self.learned.score(first, last).product / self.alone.score(first, last).product


def make_kind(name: str, law: str, count: int, rng: random.Random) -> list[Run]:
    """Return runs of one workload; those of "ending early" end at 70 % of their progress."""
    if name == "ending early":
        plans = (DURATIONS[law](rng) for _ in range(count))
        return [Run(1.0, planned, 1.0 + 0.7 * planned, SHAPES["linear"]) for planned in plans]
    return list(make_runs(name, DURATIONS[law], count, rng))


def make_sessions(count: int) -> Iterator[tuple[str, str, list[Run]]]:
    """Yield group, name and runs of each session."""
    for shape in chain.from_iterable(KINDS.values()):
        for law in DURATIONS:
            name = f"{shape}, {law}"
            yield "48 workloads", name, make_kind(shape, law, count, random.Random(name))
    yield "ends at 70 %", "log-normal", make_kind("ending early", "log-normal", count, random.Random(1))
    for names in MIXTURES:
        rng = random.Random(" ".join(names))
        kinds = [make_kind(name, "log-normal", count, rng) for name in names]
        yield "mixtures", " and ".join(names), [rng.choice(runs) for runs in zip(*kinds, strict=True)]
        share = count // len(kinds)
        yield "drift", " then ".join(names), list(chain.from_iterable(runs[:share] for runs in kinds))


def measure_all(policy: PollingPolicy, count: int, at_once: int) -> list[Result]:
    """Run every session."""
    return [
        Result(
            group,
            name,
            run_session(runs, alone(policy), at_once),
            run_session(runs, learn_by(policy), at_once),
            run_session(runs, lambda: google(0), at_once),
            fixed(5)(runs[LEARNED:]),
        )
        for group, name, runs in make_sessions(count)
    ]


def describe(group: str, results: list[Result]) -> str:
    """Return the lines of one group of workloads."""
    first = geometric_mean(each.product(0, LEARNED) for each in results)
    after = geometric_mean(each.product() for each in results)
    theirs = geometric_mean(
        each.learned.score(LEARNED).product / each.google.score(LEARNED).product for each in results
    )
    every_five = geometric_mean(each.learned.score(LEARNED).product / each.fixed.product for each in results)
    worst = sorted(results, key=Result.product)[: -WORST - 1 : -1]
    named = "; ".join(f"{each.name} {each.product():.2f}" for each in worst)
    return f"  {group:14}{first:8.2f}{after:8.2f}{theirs:8.2f}{every_five:8.2f}{ranges(results)}   {named}"


def ranges(results: list[Result]) -> str:
    """Return the coverage and the width of the ranges, without and with learning."""
    cells = []
    for sessions in ([each.alone for each in results], [each.learned for each in results]):
        found = [found for session in sessions if (found := session.ranges(LEARNED))]
        covered = fmean(fmean(hit for hit, _ in each) for each in found)
        cells.append(f"{covered:8.2f}{fmean(median(width for _, width in each) for each in found):7.2f}")
    return "".join(cells)


def main() -> None:
    """Run the simulation and print the results."""
    count, *at_once = map(int, sys.argv[1:] or ["300"])
    print(f"{'':14}   first   after  google fixed 5 s  within  width  within  width   worst")
    for number in at_once or (1, 5, 50):
        for name, policy in POLICIES.items():
            print(f"{name}, {number} at once")
            results = measure_all(policy, count, number)
            for group in dict.fromkeys(each.group for each in results):
                print(describe(group, [each for each in results if each.group == group]), flush=True)


if __name__ == "__main__":
    main()
