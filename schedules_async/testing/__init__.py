"""A fake of the service and a fake clock, to test applications that use `schedules_async`."""

from schedules_async.testing.answers import (
    Answer,
    cut_body,
    fault,
    not_modified,
    operation_answer,
    raw,
    reset,
    stall,
    throttled,
)
from schedules_async.testing.fake_clock import FakeClock
from schedules_async.testing.fake_server import FakeSchedules
from schedules_async.testing.listening import ReceivedRequest

__all__ = [
    "Answer",
    "FakeClock",
    "FakeSchedules",
    "ReceivedRequest",
    "cut_body",
    "fault",
    "not_modified",
    "operation_answer",
    "raw",
    "reset",
    "stall",
    "throttled",
]
