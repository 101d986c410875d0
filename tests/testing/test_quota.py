import pytest

from schedules_async.testing.quota import WindowCounter


@pytest.mark.parametrize(
    ("times", "waits"),
    [
        ([0, 1, 2, 3], [None, None, 58, 57]),
        ([0, 59, 60, 61, 62], [None, None, None, None, 58]),
        ([0, 0, 59.5], [None, None, 1]),
        ([0, 0, 59.99], [None, None, 1]),
        ([200, 200, 200.25], [None, None, 40]),
    ],
)
def test_third_call_in_window_waits_for_next(times: list[float], waits: list[float | None]) -> None:
    counter = WindowCounter()
    assert [counter.count(time, 2, 60.0) for time in times] == waits


def test_changed_window_length_restarts_count() -> None:
    counter = WindowCounter()
    assert counter.count(0.0, 1, 60.0) is None
    assert counter.count(1.0, 1, 60.0) == 59
    assert counter.count(1.0, 1, 10.0) is None
    assert counter.count(2.0, 1, 10.0) == 8


def test_quota_of_zero_accepts_nothing() -> None:
    assert WindowCounter().count(0.0, 0, 10.0) == 10
