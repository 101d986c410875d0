"""Thousands of operations under one quota, in virtual time: the real session over a simulated service.

Run: PYTHONPATH=tests/support:tests/tools python tests/benchmarks/budget.py [operations] [seed].
So many operations (1,000) at 500 requests
a minute for each thousand, durations log-uniform from 2 s to 6 h, requested within ten minutes, once with progress of
all kinds and once without any. Prints requests, the share refused, the share of the quota that the fullest window took,
and the mean and longest seconds from an end to its sight: by google-api-core's intervals through the very same gate,
and by the default policy with the rate known and unknown. The bound is a fluid's: all requests that the quota allows,
spent evenly on all that run.
"""

import random
import sys
import time
from bisect import bisect_right
from statistics import fmean

from efficiency import DURATIONS, make_runs
from virtual_time import (
    GoogleIntervals,
    Job,
    Quota,
    SimulatedService,
    make_jobs,
    most_in_any_window,
    open_session,
    run,
    wait_for_all,
)

from schedules_async import PollingPolicy, RateLimit

SPREAD = 600.0
PER = 60.0
HEAD = f"{'requests':>10}{'refused':>9}{'window':>8}{'mean':>9}{'longest':>10}"


def measure(name: str, jobs: list[Job], calls: int, policy: PollingPolicy, limits: tuple[RateLimit, ...]) -> float:
    """Wait for all, print a line, give the mean delay."""
    service = SimulatedService({job.ref: job for job in jobs}, Quota(calls, PER))
    started = time.perf_counter()
    run(wait_for_all(open_session(service, polling=policy, rate_limits=limits), jobs))
    delays = list(service.delays.values())
    print(
        f"{name:44}{len(service.sent):10}{service.refused / len(service.sent):9.2%}"
        f"{most_in_any_window(service.sent, PER) / calls:8.1%}{fmean(delays):7.2f} s{max(delays):8.1f} s"
        f"   (took {time.perf_counter() - started:.0f} s)",
        flush=True,
    )
    return fmean(delays)


def fluid_bound(jobs: list[Job], calls: int) -> float:
    """Give the mean of half a round at the ends, a round being one look at each that runs."""
    begins = sorted(job.created for job in jobs)
    ends = sorted(job.created + job.run.total for job in jobs)
    running = [bisect_right(begins, end) - number for number, end in enumerate(ends)]
    return fmean(running) / 2 / (calls / PER)


def main() -> None:
    """Measure, print."""
    count, seed = (*map(int, sys.argv[1:]), *(1000, 1)[len(sys.argv) - 1 :])
    calls = count // 2
    for progress in ("mixed", "none"):
        chance = random.Random(seed)
        jobs = make_jobs(make_runs(progress, DURATIONS["log-uniform"], count, chance), SPREAD, chance)
        print(f"\n{f'{count} operations, {calls} a minute, progress {progress}':44}{HEAD}")
        known = (RateLimit(calls, PER),)
        google = measure("google-api-core's intervals, same gate", jobs, calls, GoogleIntervals(), known)
        own = measure("schedules_async, rate known", jobs, calls, PollingPolicy(), known)
        learned = measure("schedules_async, rate unknown", jobs, calls, PollingPolicy(), ())
        bound = fluid_bound(jobs, calls)
        print(f"own {own / google:.2f} of google's, {own / bound:.2f} of the bound of {bound:.2f} s")
        print(f"rate unknown: {learned / own:.2f} of the delay at a known one")


if __name__ == "__main__":
    main()
