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
def test_two_calls_a_minute(times: list[float], waits: list[float | None]) -> None:
    counter = WindowCounter()
    assert [counter.take(time, 2, 60.0) for time in times] == waits


def test_another_length_opens_another_window() -> None:
    counter = WindowCounter()
    assert counter.take(0.0, 1, 60.0) is None
    assert counter.take(1.0, 1, 60.0) == 59
    assert counter.take(1.0, 1, 10.0) is None
    assert counter.take(2.0, 1, 10.0) == 8


def test_a_quota_of_none_at_all_refuses_everything() -> None:
    assert WindowCounter().take(0.0, 0, 10.0) == 10
