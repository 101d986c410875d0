"""Many operations under one budget, in virtual time: the real session over a simulated service."""

import asyncio
import logging
import random
from collections.abc import Iterator
from functools import cache
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

from schedules_async import COMMUNITY_TIER, PollingPolicy, RateLimit, SchedulesSession

CALLS, PER = 30, 60.0


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Log no line for each of many thousand polls."""
    logger = logging.getLogger("schedules_async")
    logger.setLevel(logging.INFO)
    yield
    logger.setLevel(logging.NOTSET)


KNOWN = (RateLimit(CALLS, PER),)


def mixed(count: int, seed: int) -> list[Job]:
    """Return operations of 2 s to half an hour, with progress of all shapes, requested within five minutes."""
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


@cache
def serve_mixed(policy: PollingPolicy, seed: int) -> SimulatedService:
    return serve(mixed(60, seed), policy, KNOWN)


def mean_delay(policy: PollingPolicy) -> tuple[float, list[SimulatedService]]:
    services = [serve_mixed(policy, seed) for seed in range(3)]
    return fmean(delay for service in services for delay in service.delays.values()), services


def test_ends_are_detected_sooner_than_by_exponential_intervals() -> None:
    """At most 0.80 of the delay; no window exceeded, no 429. (tests/benchmarks/budget.py has more.)"""
    own, services = mean_delay(PollingPolicy())
    google, _ = mean_delay(GoogleIntervals())
    assert own <= 0.8 * google
    for service in services:
        assert service.refused == 0
        assert most_in_any_window(service.sent, PER) <= CALLS


def alike(count: int, duration: float) -> list[Job]:
    shape = SHAPES["none"]
    return make_jobs([Run(0.0, duration, duration, shape) for _ in range(count)], 0.0, random.Random(1))


@pytest.mark.parametrize("policy", [PollingPolicy(), PollingPolicy.fixed(1), PollingPolicy.EAGER])
def test_polls_between_equals_are_shared_evenly(policy: PollingPolicy) -> None:
    """Without progress: a round is one poll of each; no gap exceeds the longest interval and two rounds."""
    service = serve(alike(50, 1800.0), policy, KNOWN)
    assert service.refused == 0
    counts = [len(polls) for polls in service.polls.values()]
    assert max(counts) < 1.5 * min(counts)
    one_round = 50 / (0.97 * CALLS / PER)
    gaps = [later - earlier for polls in service.polls.values() for earlier, later in pairwise(polls)]
    assert max(gaps) <= policy.max_interval + 2 * one_round


def test_gap_never_exceeds_interval_and_two_rounds() -> None:
    """Whatever the progress says."""
    for seed in range(3):
        service = serve_mixed(PollingPolicy(), seed)
        one_round = 60 / (0.97 * CALLS / PER)
        gaps = [later - earlier for polls in service.polls.values() for earlier, later in pairwise(polls)]
        assert max(gaps) <= PollingPolicy().max_predicted_interval + 2 * one_round


def test_unknown_quota_costs_few_429s() -> None:
    """And most of it is used, after the first window."""
    jobs, calls, seconds = alike(60, 600.0), 120, 600.0
    service = SimulatedService({job.ref: job for job in jobs}, Quota(calls, PER))
    run(wait_for_all(open_session(service, polling=PollingPolicy.fixed(1), rate_limits=()), jobs))
    late = [time for time in service.sent if PER < time < seconds]
    assert len(late) >= 0.8 * calls * (seconds - PER) / PER
    assert service.refused <= 0.03 * len(service.sent)
    assert len(service.delays) == 60


def test_call_beside_thousand_waits_takes_seconds() -> None:
    """At most 3 s under the Community tier, at any moment of an hour, and the limits hold."""
    jobs = alike(1001, 2 * 3600.0)
    service = SimulatedService({job.ref: job for job in jobs})
    durations: list[float] = []

    async def call_every_minute(session: SchedulesSession) -> None:
        waits = asyncio.create_task(session.wait_for_operations([job.ref for job in jobs[1:]]))
        loop = asyncio.get_running_loop()
        for minute in range(60):
            await asyncio.sleep(60 * minute + 7 * minute % 60 - loop.time())
            began = loop.time()
            await session.get_operation(*jobs[0].ref)
            durations.append(loop.time() - began)
        waits.cancel()
        await asyncio.wait({waits})
        await session.close()

    run(call_every_minute(open_session(service, rate_limits=COMMUNITY_TIER)))
    assert len(durations) == 60
    assert max(durations) <= 3
    for limit in COMMUNITY_TIER:
        assert most_in_any_window(service.sent, limit.per) <= limit.calls
