"""Many operations under one budget, in virtual time: the real session over a simulated service."""

import logging
import random
from collections.abc import Iterator
from itertools import pairwise
from statistics import fmean

import pytest
from simulation import SHAPES, Run, workload
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

CALLS, PER = 30, 60.0


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Let no line be written for each of many thousand polls."""
    logger = logging.getLogger("schedules_async")
    logger.setLevel(logging.INFO)
    yield
    logger.setLevel(logging.NOTSET)


KNOWN = (RateLimit(CALLS, PER),)


def mixed(count: int, seed: int) -> list[Job]:
    """Make operations of 2 s to half an hour, with progress of all shapes, requested within five minutes."""
    chance = random.Random(seed)
    runs = [
        next(workload(chance.choice(list(SHAPES.values())), 1, chance, durations=lambda rng: 2 * 900 ** rng.random()))
        for _ in range(count)
    ]
    return make_jobs(runs, 300, chance)


def serve(jobs: list[Job], policy: PollingPolicy, limits: tuple[RateLimit, ...]) -> SimulatedService:
    service = SimulatedService({job.ref: job for job in jobs}, Quota(CALLS, PER))
    run(wait_for_all(open_session(service, polling=policy, rate_limits=limits), jobs))
    return service


def mean_delay(policy: PollingPolicy, limits: tuple[RateLimit, ...]) -> tuple[float, list[SimulatedService]]:
    services = [serve(mixed(60, seed), policy, limits) for seed in range(3)]
    return fmean(delay for service in services for delay in service.delays.values()), services


def test_ends_are_found_sooner_than_by_other_intervals_through_the_same_gate() -> None:
    """At most 0.80 of the delay; no window exceeded, nothing refused. (tests/benchmarks/budget.py has more.)"""
    own, services = mean_delay(PollingPolicy(), KNOWN)
    google, _ = mean_delay(GoogleIntervals(), KNOWN)
    assert own <= 0.8 * google
    for service in services:
        assert service.refused == 0
        assert most_in_any_window(service.sent, PER) <= CALLS


def alike(count: int, duration: float) -> list[Job]:
    shape = SHAPES["none"]
    return make_jobs([Run(0.0, duration, duration, shape) for _ in range(count)], 0.0, random.Random(1))


@pytest.mark.parametrize("policy", [PollingPolicy(), PollingPolicy.fixed(1), PollingPolicy.EAGER])
def test_between_equals_looks_are_shared_evenly_and_nobody_starves(policy: PollingPolicy) -> None:
    """Without progress: a round is one look at each; no gap exceeds the wanted pause and two rounds."""
    service = serve(alike(50, 1800.0), policy, KNOWN)
    assert service.refused == 0
    counts = [len(polls) for polls in service.polls.values()]
    assert max(counts) < 1.5 * min(counts)
    one_round = 50 / (0.97 * CALLS / PER)
    gaps = [later - earlier for polls in service.polls.values() for earlier, later in pairwise(polls)]
    assert max(gaps) <= policy.max_interval + 2 * one_round


def test_no_gap_of_any_operation_is_longer_than_its_pause_and_two_rounds() -> None:
    """Whatever the progress says."""
    for seed in range(3):
        service = serve(mixed(60, seed), PollingPolicy(), KNOWN)
        one_round = 60 / (0.97 * CALLS / PER)
        gaps = [later - earlier for polls in service.polls.values() for earlier, later in pairwise(polls)]
        assert max(gaps) <= PollingPolicy().max_predicted_interval + 2 * one_round


def test_an_unknown_quota_costs_few_refusals() -> None:
    """And most of it is used, after the first window."""
    jobs, calls, seconds = alike(60, 600.0), 120, 600.0
    service = SimulatedService({job.ref: job for job in jobs}, Quota(calls, PER))
    run(wait_for_all(open_session(service, polling=PollingPolicy.fixed(1), rate_limits=()), jobs))
    late = [time for time in service.sent if PER < time < seconds]
    assert len(late) >= 0.8 * calls * (seconds - PER) / PER
    assert service.refused <= 0.03 * len(service.sent)
    assert len(service.delays) == 60
