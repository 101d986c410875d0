import math
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from itertools import pairwise
from statistics import fmean

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from measure_policy import Decide, decide_by, default, eager, frugal
from polls import BOOTED, after_noon, polled, queued, started, unknown, window
from simulation import SHAPES, Score, by_policy, google, measure, workload

from schedules_async._operations.operation import Operation, OperationStatus
from schedules_async._operations.ref import OperationRef
from schedules_async._polling.forecast import Progress
from schedules_async._polling.policy import PollingPolicy, jitter_seed

MIDDLE = 0.5  # the seed or sample that moves a pause neither way


def pause(policy: PollingPolicy, progress: Progress) -> float:
    return policy.interval(progress, MIDDLE, MIDDLE)


# --- without credible progress ------------------------------------------------------------------------------------

ROOT = [  # sqrt(2 * cost * age) + 2 * cost, between the bounds
    (PollingPolicy(), 0.0, 1.0),
    (PollingPolicy(), 4.0, 3.0),
    (PollingPolicy(), 100.0, 11.0),
    (PollingPolicy(), 144.0, 13.0),
    (PollingPolicy(), 1e6, 13.0),
    (PollingPolicy(min_interval=2), 0.0, 2.0),
    (PollingPolicy(max_interval=60), 2500.0, 51.0),
    (PollingPolicy(cost=2), 25.0, 13.0),
    (PollingPolicy(cost=2), 4.0, 8.0),
    (PollingPolicy.EAGER, 2.0, 1.5),
    (PollingPolicy.EAGER, 1e6, 5.0),
    (PollingPolicy.FRUGAL, 2.0, 12.0),
    (PollingPolicy.FRUGAL, 1e6, 30.0),
]


@pytest.mark.parametrize("operation", [queued(), unknown(), started(0), started(0.4), started(-5)])
@pytest.mark.parametrize(("policy", "age", "expected"), ROOT)
def test_interval_without_progress_grows_with_root_of_age(
    policy: PollingPolicy, age: float, expected: float, operation: Operation
) -> None:
    progress = polled((age, operation))
    assert pause(policy, progress) == pytest.approx(expected)
    assert progress.time_remaining(BOOTED + age) is None


def test_an_operation_never_looked_at_is_new() -> None:
    assert pause(PollingPolicy(), Progress()) == 1.0
    assert Progress().time_remaining(BOOTED) is None


# --- with credible progress ---------------------------------------------------------------------------------------


def test_the_pause_reaches_into_the_window() -> None:
    """The root of the window's width (cost 0.5), from where it opens."""
    progress = polled((10, started(90)))
    low, high = window(progress)
    assert pause(PollingPolicy(), progress) == pytest.approx(low + math.sqrt(high - low))


def test_prediction_at_most_doubles_the_interval() -> None:
    assert pause(PollingPolicy(), polled((30, started(10)))) == pytest.approx(2 * (math.sqrt(30) + 1))


@pytest.mark.parametrize(
    ("policy", "longest"),
    [
        (PollingPolicy(), 39.0),
        (PollingPolicy.EAGER, 15.0),
        (PollingPolicy.FRUGAL, 90.0),
        (PollingPolicy(max_predicted_interval=math.inf), 2 * (100 + 1)),
        (PollingPolicy(max_interval=50), 50.0),
    ],
)
def test_the_longest_predicted_pause(policy: PollingPolicy, longest: float) -> None:
    assert pause(policy, polled((10000, started(10)))) == pytest.approx(longest)


def test_intervals_in_the_window_grow() -> None:
    """Each by a tenth, up to the pause that age alone would give."""
    progress = polled((1000, started(95)), (1000.01, started(100)))
    pauses = []
    for number in range(60):
        progress.observe(started(100), BOOTED + 1000.02 + number / 100, None)
        pauses.append(pause(PollingPolicy(), progress))
    growth = [later / earlier for earlier, later in pairwise(pauses[15:25])]
    assert growth == pytest.approx([1.1] * 9, rel=0.001)
    assert pauses[-1] == 13.0


def test_exact_progress_needs_few_polls() -> None:
    """Ten minutes, linear; the intervals of google-api-core take about sixty."""
    progress, t, polls = Progress(), 0.0, 1
    while t < 600:
        progress.observe(started(t / 6), BOOTED + t, after_noon(t))
        t += pause(PollingPolicy(), progress)
        polls += 1
    assert polls <= 35
    assert t - 600 < 2


# --- jitter -------------------------------------------------------------------------------------------------------

JITTER = [
    (0.1, 0.5, 0.5, 1.0),
    (0.1, 0.0, 0.5, 0.9),
    (0.1, 1.0, 0.5, 1.1),
    (0.1, 0.5, 0.0, 0.95),
    (0.1, 0.5, 1.0, 1.05),
    (0.1, 0.0, 0.0, 0.85),
    (0.4, 1.0, 1.0, 1.6),
    (0.0, 1.0, 0.0, 1.0),
]


@pytest.mark.parametrize(("jitter", "seed", "sample", "factor"), JITTER)
def test_jitter_per_poll_is_half_that_per_operation(jitter: float, seed: float, sample: float, factor: float) -> None:
    policy = PollingPolicy(jitter=jitter, max_interval=99)
    assert policy.interval(polled((9, queued())), seed, sample) == pytest.approx(4 * factor)


def test_jitter_keeps_the_bounds() -> None:
    assert PollingPolicy(min_interval=1).interval(polled((0, queued())), 0.0, 0.0) == 1.0
    assert PollingPolicy().interval(polled((1e5, queued())), 0.99, 0.99) == 13.0
    assert PollingPolicy().interval(polled((1e5, started(10))), 0.99, 0.99) == 39.0


def test_seed_of_ref_is_equal_in_every_process() -> None:
    assert jitter_seed(OperationRef("schedule", "operation")) == pytest.approx(0.9860892433297757)


def test_the_seed_tells_apart_where_one_id_ends() -> None:
    assert jitter_seed(OperationRef("a/b", "c")) != jitter_seed(OperationRef("a", "b/c"))


def test_seeds_are_spread_evenly() -> None:
    seeds = sorted(jitter_seed(OperationRef("schedule", str(number))) for number in range(1000))
    assert all(abs(seed - number / 1000) < 0.05 for number, seed in enumerate(seeds))
    assert 0 <= seeds[0] < seeds[-1] < 1


# --- the policy as a value ----------------------------------------------------------------------------------------


def test_defaults() -> None:
    assert PollingPolicy() == PollingPolicy(
        cost=0.5,
        min_interval=0.5,
        max_interval=13,
        max_predicted_interval=39,
        jitter=0.1,
        not_found_grace=0,
        max_retry_after=3600,
    )
    assert PollingPolicy(cost=0.25, max_interval=5, max_predicted_interval=15) == PollingPolicy.EAGER
    assert PollingPolicy(cost=4, max_interval=30, max_predicted_interval=90) == PollingPolicy.FRUGAL


def test_seconds_may_be_a_timedelta() -> None:
    assert PollingPolicy(max_interval=timedelta(minutes=1)).max_interval == 60.0
    assert PollingPolicy.fixed(timedelta(seconds=3)) == PollingPolicy.fixed(3)


LIFTED = [
    (PollingPolicy(max_interval=60), 0.5, 60.0, 60.0),
    (PollingPolicy(max_predicted_interval=5), 0.5, 13.0, 13.0),
    (PollingPolicy(min_interval=20), 20.0, 20.0, 39.0),
    (PollingPolicy(min_interval=50), 50.0, 50.0, 50.0),
    (evolve(PollingPolicy(), max_interval=60), 0.5, 60.0, 60.0),
]


@pytest.mark.parametrize(("policy", "shortest", "longest", "longest_predicted"), LIFTED)
def test_longer_bounds_are_lifted_to_shorter_ones(
    policy: PollingPolicy, shortest: float, longest: float, longest_predicted: float
) -> None:
    assert (policy.min_interval, policy.max_interval) == (shortest, longest)
    assert policy.max_predicted_interval == longest_predicted


SECONDS = ("cost", "min_interval", "max_interval", "max_predicted_interval", "not_found_grace", "max_retry_after")
REFUSED = [
    *((name, value) for name in SECONDS for value in (-1.0, math.nan, -math.inf)),
    *((name, math.inf) for name in ("cost", "min_interval", "max_interval")),
    *((name, 0.0) for name in ("cost", "min_interval", "max_interval")),
    *(("jitter", value) for value in (-0.1, 1.0, math.nan, math.inf)),
    ("max_interval", 0.4),
]


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_value_out_of_range_is_an_error(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"'{name}'"):
        PollingPolicy(**{name: value})


@pytest.mark.parametrize("name", ["max_predicted_interval", "not_found_grace", "max_retry_after"])
def test_what_may_be_unlimited(name: str) -> None:
    assert getattr(PollingPolicy(**{name: math.inf}), name) == math.inf


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan, math.inf])
def test_fixed_interval_of_zero_is_an_error(seconds: float) -> None:
    with pytest.raises(ValueError, match="'min_interval'"):
        PollingPolicy.fixed(seconds)


@pytest.mark.parametrize("seconds", [0.01, 0.3, 5.0, 7200.0])
@pytest.mark.parametrize(
    "progress", [Progress(), polled((1e5, queued())), polled((9, started(90))), polled((9e4, started(9)))]
)
def test_fixed_interval_is_exact(seconds: float, progress: Progress) -> None:
    assert PollingPolicy.fixed(seconds).interval(progress, 0.99, 0.0) == seconds


# --- whatever the service sends -----------------------------------------------------------------------------------

TIMES = st.none() | st.datetimes(timezones=st.just(UTC) | st.just(timezone(timedelta(hours=14))))
LIKELY = st.none() | st.floats(-100, 1e4).map(after_noon)
OPERATIONS = st.builds(
    Operation,
    id=st.just("operation"),
    schedule_id=st.just("schedule"),
    status=st.sampled_from(OperationStatus),
    percent_complete=st.floats(allow_nan=False, allow_infinity=False) | st.floats(-5, 105),
    created_at=TIMES | LIKELY,
    updated_at=TIMES | LIKELY,
)
POLLS = st.lists(st.tuples(st.floats(0, 1e4) | st.just(0.0), OPERATIONS, TIMES | LIKELY), max_size=12)
SHARES = st.floats(0, 1, exclude_max=True)
POLICIES = st.builds(
    PollingPolicy,
    cost=st.floats(0, 1e308, exclude_min=True),
    min_interval=st.floats(0, 13, exclude_min=True),
    max_interval=st.floats(13, 1e300),
    max_predicted_interval=st.floats(0) | st.just(math.inf),
    jitter=SHARES,
)


@settings(deadline=None)
@given(policy=POLICIES | st.just(PollingPolicy()), polls=POLLS, seed=SHARES, sample=SHARES)
def test_interval_is_within_its_bounds(
    policy: PollingPolicy, polls: list[tuple[float, Operation, datetime | None]], seed: float, sample: float
) -> None:
    progress, now = Progress(), BOOTED
    for elapsed, operation, date in polls:
        now += elapsed
        progress.observe(operation, now, date)
        remaining = progress.time_remaining(now + 1)
        longest = policy.max_interval if remaining is None else policy.max_predicted_interval
        assert policy.min_interval <= policy.interval(progress, seed, sample) <= longest
        assert remaining is None or 0 <= remaining.low <= remaining.high < math.inf
        assert 0 <= progress.age < math.inf


# --- with ends that siblings predict ------------------------------------------------------------------------------


def among(ends: list[float], policy: PollingPolicy = PollingPolicy(), load: float = 1.0, seed: float = MIDDLE) -> float:
    progress = polled((100.0, started(0)))
    progress.ends = ends
    return policy.interval(progress, seed, MIDDLE, load)


def test_interval_aims_at_ends_of_siblings() -> None:
    assert among([]) == pytest.approx(11.0)
    assert among([5.0] * 50) == pytest.approx(5 + 0.5 * 52 / 50 - 0.25)
    assert among([100.0] * 50) == 13.0  # within max_interval without progress
    assert among([0.001] * 50, PollingPolicy(min_interval=8)) == 8.0
    assert among([5.0] * 50, PollingPolicy.fixed(8)) == 8.0


def test_interval_among_siblings_stretches_with_load() -> None:
    assert among([5.0] * 50, load=4) == pytest.approx(5 + 2 * 52 / 50 - 1)
    assert among([100.0] * 50, load=4) == 52.0


@pytest.mark.parametrize(("seed", "expected"), [(0.0, 11.7), (MIDDLE, 13.0), (1.0, 13.0)])
def test_bound_of_interval_among_siblings_has_jitter(seed: float, expected: float) -> None:
    assert among([100.0] * 50, seed=seed) == pytest.approx(expected)


# --- against the intervals of google-api-core ---------------------------------------------------------------------


@cache
def measure_on(shape: str, share_ending_early: float, policy: PollingPolicy | None) -> Score:
    """Return the score of a policy, or of google without one, on the same operations."""
    runs = list(workload(SHAPES[shape], 30, random.Random(11), share_ending_early))
    return measure(runs, google if policy is None else by_policy(policy))


def compare(policy: PollingPolicy, shape: str, share_ending_early: float = 0.0) -> tuple[float, float]:
    """Return polls and delay, each as a share of google's."""
    own, theirs = (measure_on(shape, share_ending_early, one) for one in (policy, None))
    return own.polls / theirs.polls, own.delay / theirs.delay


@pytest.mark.parametrize(("shape", "early"), [*((shape, 0.0) for shape in SHAPES), ("linear", 0.3)])
def test_fewer_polls_detect_the_end_sooner(shape: str, early: float) -> None:
    polls, delay = compare(PollingPolicy(), shape, early)
    assert polls < 0.9
    assert delay < 0.95


@pytest.mark.parametrize(
    ("policy", "limit"), [(PollingPolicy(), 0.25), (PollingPolicy.EAGER, 0.26), (PollingPolicy.FRUGAL, 0.38)]
)
def test_product_of_polls_and_delay_is_bounded(policy: PollingPolicy, limit: float) -> None:
    products = [math.prod(compare(policy, shape)) for shape in SHAPES]
    assert math.prod(products) ** (1 / len(products)) < limit


def test_fixed_interval_detects_after_half_of_it() -> None:
    """Checks the simulation by what is known."""
    runs = list(workload(SHAPES["none"], 30, random.Random(3)))
    score = measure(runs, by_policy(PollingPolicy.fixed(5)))
    assert score.polls == pytest.approx(fmean(math.ceil(run.total / 5) + 1 for run in runs))
    assert score.delay == pytest.approx(2.5, rel=0.2)


@pytest.mark.parametrize(
    ("factory", "policy"),
    [(default, PollingPolicy()), (eager, PollingPolicy.EAGER), (frugal, PollingPolicy.FRUGAL)],
)
def test_the_measured_policies_are_the_presets(factory: Callable[[], Decide], policy: PollingPolicy) -> None:
    look = (900.0, "Queued", 0.0, math.nan, 0.5)
    assert factory()(*look) == pytest.approx(decide_by(policy, 0)(*look), rel=0.2)
