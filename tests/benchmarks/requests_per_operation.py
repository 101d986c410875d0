"""How many requests an operation costs, and how late its end is found: the table of the README.

Run: PYTHONPATH=tests/support:tests/tools python tests/benchmarks/requests_per_operation.py [POLICY].
POLICY is default, EAGER or FRUGAL. A seeded simulation of the policy and its forecast, of 100 operations in each cell.
They are Queued for a second, run for the named time give or take a tenth, and report steady progress, steps of 25 % or
none. Each cell has the mean number of requests, where a 304 counts as any other answer does, and the mean seconds from
the end to its detection.
"""

import random
import sys
from collections.abc import Iterator

from simulation import SHAPES, Run, Score, Shape, by_policy, measure

from schedules_async import PollingPolicy

COUNT = 100
DURATIONS = {"1 minute": 60.0, "10 minutes": 600.0, "1 hour": 3600.0}
PROGRESS = {"steady": SHAPES["linear"], "in steps of 25 %": SHAPES["steps of 25"], "none": SHAPES["none"]}
POLICIES = {"default": PollingPolicy(), "EAGER": PollingPolicy.EAGER, "FRUGAL": PollingPolicy.FRUGAL}
SPREAD = 0.1  # of a duration, either way
QUEUED = 1.0  # seconds


def make_runs(duration: float, shape: Shape) -> Iterator[Run]:
    """Yield operations of about the same duration."""
    rng = random.Random(f"{duration} {shape(0.6)}")
    for _ in range(COUNT):
        run = duration * rng.uniform(1 - SPREAD, 1 + SPREAD)
        yield Run(QUEUED, run, QUEUED + run, shape)


def format_score(score: Score) -> str:
    return f"{score.polls:.0f} requests, {score.delay:.1f} s late"


def make_table(policy: PollingPolicy) -> Iterator[str]:
    """Yield the lines of the table."""
    yield f"| an operation of | {' | '.join(f'progress {name}' for name in PROGRESS)} |"
    yield f"|---|{'---|' * len(PROGRESS)}"
    for name, duration in DURATIONS.items():
        runs = (list(make_runs(duration, shape)) for shape in PROGRESS.values())
        yield f"| {name} | {' | '.join(format_score(measure(each, by_policy(policy))) for each in runs)} |"


if __name__ == "__main__":
    for line in make_table(POLICIES[sys.argv[1] if len(sys.argv) > 1 else "default"]):
        print(line)
