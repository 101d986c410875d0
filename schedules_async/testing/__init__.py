"""A fake service and a fake clock for testing applications that use `schedules_async`."""

from schedules_async._exports import name_exports
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
from schedules_async.testing.http_server import ReceivedRequest

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

name_exports(__name__, globals(), __all__)
