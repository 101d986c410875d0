"""Thousands of operations under one quota, in virtual time: the real session with a simulated service.

Run: PYTHONPATH=tests/support:tests/tools python tests/benchmarks/budget.py [operations] [seed].
The given number of operations (1,000) share a quota of 500 requests a minute for each thousand of them. Their
durations are log-uniform from 2 s to 6 h, and they are requested within ten minutes: once with progress of all kinds
and once without any. Prints the number of requests, the share that was throttled, the share of the quota used in the
busiest window, and the mean and maximum detection delay, for the intervals of google-api-core with the same rate
limiter and for the default policy with a known and an unknown rate. The bound is that of a fluid: all requests of the
quota, spread evenly over the running operations.
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
HEAD = f"{'requests':>10}{'throttled':>10}{'window':>8}{'mean':>9}{'longest':>10}"


def measure(name: str, jobs: list[Job], calls: int, policy: PollingPolicy, limits: tuple[RateLimit, ...]) -> float:
    """Wait for all operations, print a line and return the mean delay."""
    service = SimulatedService({job.ref: job for job in jobs}, Quota(calls, PER))
    started = time.perf_counter()
    run(wait_for_all(open_session(service, polling=policy, rate_limits=limits), jobs))
    delays = list(service.delays.values())
    print(
        f"{name:44}{len(service.sent):10}{service.refused / len(service.sent):10.2%}"
        f"{most_in_any_window(service.sent, PER) / calls:8.1%}{fmean(delays):7.2f} s{max(delays):8.1f} s"
        f"   (took {time.perf_counter() - started:.0f} s)",
        flush=True,
    )
    return fmean(delays)


def fluid_bound(jobs: list[Job], calls: int) -> float:
    """Return the mean of half a round at the ends; a round is one poll of each running operation."""
    begins = sorted(job.created for job in jobs)
    ends = sorted(job.created + job.run.total for job in jobs)
    running = [bisect_right(begins, end) - number for number, end in enumerate(ends)]
    return fmean(running) / 2 / (calls / PER)


def main() -> None:
    """Run the benchmark and print the results."""
    count, seed = (*map(int, sys.argv[1:]), *(1000, 1)[len(sys.argv) - 1 :])
    calls = count // 2
    for progress in ("mixed", "none"):
        chance = random.Random(seed)
        jobs = make_jobs(make_runs(progress, DURATIONS["log-uniform"], count, chance), SPREAD, chance)
        print(f"\n{f'{count} operations, {calls} a minute, progress {progress}':44}{HEAD}")
        known = (RateLimit(calls, PER),)
        google = measure("google-api-core's intervals, same limiter", jobs, calls, GoogleIntervals(), known)
        own = measure("schedules_async, rate known", jobs, calls, PollingPolicy(), known)
        learned = measure("schedules_async, rate unknown", jobs, calls, PollingPolicy(), ())
        bound = fluid_bound(jobs, calls)
        print(f"own {own / google:.2f} of google's, {own / bound:.2f} of the bound of {bound:.2f} s")
        print(f"rate unknown: {learned / own:.2f} of the delay at a known one")


if __name__ == "__main__":
    main()
