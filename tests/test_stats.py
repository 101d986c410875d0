"""The counts of a session."""

import pytest

from schedules_async._stats import DetectionDelay, SessionStats, Tally


@pytest.mark.parametrize(
    ("delays", "expected"),
    [
        ([], DetectionDelay(0, 0.0, 0.0)),
        ([2.0], DetectionDelay(1, 2.0, 2.0)),
        ([2.0, 4.0, 0.0], DetectionDelay(3, 2.0, 4.0)),
        ([5.0, 1.0], DetectionDelay(2, 3.0, 5.0)),
    ],
)
def test_delays_are_averaged(delays: list[float], expected: DetectionDelay) -> None:
    delay = DetectionDelay()
    for one in delays:
        delay = delay.with_one_more(one)
    assert delay == expected


def test_the_stats_are_the_tally_at_that_moment() -> None:
    tally = Tally()
    assert tally.stats() == SessionStats(0, 0, 0, 0, 0, DetectionDelay())
    tally.requests, tally.not_modified, tally.throttled, tally.retried, tally.updates = 1, 2, 3, 4, 5
    tally.detection_delay = tally.detection_delay.with_one_more(6.0)
    stats = tally.stats()
    tally.requests += 1
    assert stats == SessionStats(
        requests=1,
        not_modified=2,
        throttled=3,
        retried=4,
        updates=5,
        detection_delay=DetectionDelay(count=1, mean=6.0, max=6.0),
    )


def test_stats_are_frozen() -> None:
    for value, name in ((SessionStats(), "requests"), (DetectionDelay(), "count")):
        with pytest.raises(AttributeError):
            setattr(value, name, 1)
