"""What a session learns from the ends that it detects, and how it polls and forecasts then."""

import random
from collections.abc import Callable
from statistics import fmean
from typing import Any

import pytest
from attrs import frozen
from measure_policy import learn_by
from sessions import MakeSession
from simulation import SHAPES, Run, by_policy, measure, run_session, workload

from schedules_async import PollingPolicy, SchedulesSession
from schedules_async.testing import FakeClock, FakeSchedules, operation_answer

EVEN = PollingPolicy(jitter=0)


def to_seventy(share: float) -> float:
    return 70 * share


@frozen
class Slow(PollingPolicy):
    """A caller's own policy."""

    def interval(self, *_args: object, **_options: object) -> float:
        """Return 20 s, whatever is known."""
        return 20.0


async def detect(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock, count: int = 6, **options: Any
) -> list[float]:
    """Wait for operations that end at 70 %, one after another; return how late each end was detected."""
    delays = []
    for number in range(count):
        duration = 300.0 + 20 * number
        ends_at = clock.monotonic() + duration
        await session.wait_for_operation(*server.start_operation(duration=duration, progress=to_seventy), **options)
        delays.append(clock.monotonic() - ends_at)
    return delays


async def test_operations_ending_early_are_soon_detected_in_time(
    make_session: MakeSession, server: FakeSchedules, clock: FakeClock
) -> None:
    session = make_session(polling=EVEN)
    delays = await detect(session, server, clock)
    assert delays[0] > 10
    assert max(delays[3:]) < 2
    assert session.stats.learned_from == 6


async def test_two_sessions_learn_apart(make_session: MakeSession, server: FakeSchedules, clock: FakeClock) -> None:
    learned, other = make_session(polling=EVEN), make_session(polling=EVEN)
    first = (await detect(learned, server, clock))[0]
    assert await detect(other, server, clock, 1) == pytest.approx([first], abs=0.5)
    assert (learned.stats.learned_from, other.stats.learned_from) == (6, 1)


async def test_fixed_interval_neither_learns_nor_moves(
    make_session: MakeSession, server: FakeSchedules, clock: FakeClock
) -> None:
    session = make_session(polling=EVEN)
    await detect(session, server, clock, 2, polling=PollingPolicy.fixed(30))
    assert session.stats.learned_from == 0
    await detect(session, server, clock)
    before = len(server.requests)
    await session.wait_for_operation(
        *server.start_operation(duration=301, progress=to_seventy), polling=PollingPolicy.fixed(30)
    )
    assert len(server.requests) - before == 12


async def test_policy_with_its_own_interval_is_not_moved(
    make_session: MakeSession, server: FakeSchedules, clock: FakeClock
) -> None:
    """What others learn from its operations is not its own affair."""
    session = make_session(polling=Slow())
    assert await detect(session, server, clock, 4) == pytest.approx([0, 0, 0, 0], abs=0.5)  # 20 s divide each duration
    assert len(server.requests) == 16 + 17 + 18 + 19
    assert session.stats.learned_from == 4


async def test_time_remaining_contains_the_end_once_learned(
    make_session: MakeSession, server: FakeSchedules, clock: FakeClock
) -> None:
    session = make_session(polling=EVEN)
    cold = await _ranges(session, server, clock)
    await detect(session, server, clock, 8)
    learned = await _ranges(session, server, clock)
    assert not any(contains for _, contains in cold)
    assert all(contains for _, contains in learned)


async def _ranges(session: SchedulesSession, server: FakeSchedules, clock: FakeClock) -> list[tuple[float, bool]]:
    """Return for each change in the middle of a run the time, and whether the range contains the end."""
    ends_at = clock.monotonic() + 360
    waiter, ranges = session.wait_for_operation(*server.start_operation(duration=360, progress=to_seventy)), []
    async for _ in waiter:
        remaining, left = waiter.time_remaining, ends_at - clock.monotonic()
        if remaining is not None and 100 < left < 300:
            ranges.append((left, remaining.low <= left <= remaining.high))
    assert len(ranges) > 3
    return ranges


async def test_operation_found_ended_teaches_nothing(
    make_session: MakeSession, server: FakeSchedules, clock: FakeClock
) -> None:
    """Neither at the first poll, nor by single fetches, nor at the first poll after nobody has polled."""
    session = make_session(polling=EVEN)
    await session.wait_for_operation(*server.script_operation(operation_answer("Succeeded")))
    ref = server.start_operation(duration=30)
    await session.get_operation(*ref)
    waiter = session.wait_for_operation(*server.start_operation(duration=30))
    async for _ in waiter:
        break
    await clock.sleep(60)
    await session.get_operation(*ref)
    await waiter
    assert session.stats.learned_from == 0


async def test_failed_operation_teaches_too(make_session: MakeSession, server: FakeSchedules) -> None:
    session = make_session(polling=EVEN)
    await session.wait_for_operation(*server.start_operation(duration=30, fails_with="broken"), check=False)
    assert session.stats.learned_from == 1


# --- in simulation ------------------------------------------------------------------------------------------------


def ending_early(rng: random.Random) -> list[Run]:
    """Return runs that all end at 70 % of their progress."""
    return [Run(1.0, planned, 1.0 + 0.7 * planned, SHAPES["linear"]) for planned in _durations(rng)]


def _durations(rng: random.Random) -> list[float]:
    return [rng.lognormvariate(6, 0.7) for _ in range(80)]


def of_shape(shape: str) -> Callable[[random.Random], list[Run]]:
    return lambda rng: list(workload(SHAPES[shape], 80, rng, durations=lambda one: one.lognormvariate(5, 1)))


def mixed(rng: random.Random) -> list[Run]:
    runs = ending_early(rng) + of_shape("linear")(rng)
    rng.shuffle(runs)
    return runs


LEARNING: dict[str, tuple[Callable[[random.Random], list[Run]], float]] = {
    # runs, and the product of polls and delay after thirty, at most, over that without learning
    "ending early": (ending_early, 0.05),
    "whole percents": (of_shape("whole percents"), 0.45),
    "accelerating": (of_shape("accelerating"), 0.45),
    "steps of 25": (of_shape("steps of 25"), 0.65),
    "starts again": (of_shape("starts again"), 1.0),
    "none": (of_shape("none"), 1.0),
    "mixed": (mixed, 0.15),
}


@pytest.mark.parametrize("name", LEARNING)
def test_session_that_learned_polls_for_less(name: str) -> None:
    make_runs, most = LEARNING[name]
    runs, policy = make_runs(random.Random(3)), PollingPolicy()
    alone = measure(runs[30:], by_policy(policy))
    learned = run_session(runs, learn_by(policy)).score(30)
    assert learned.product < most * alone.product


@pytest.mark.parametrize("shape", ["linear", "whole percents", "s-curve", "accelerating", "decelerating"])
def test_range_contains_nine_in_ten_ends_once_learned(shape: str) -> None:
    """At all polls, which are most frequent late in a run."""
    session = run_session(of_shape(shape)(random.Random(3)), learn_by(PollingPolicy()))
    contained = [contains for contains, _ in session.ranges(30)]
    assert fmean(contained) >= 0.9
