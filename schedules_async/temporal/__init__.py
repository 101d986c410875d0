"""Waits on more than one machine: activities and a workflow for Temporal."""

from schedules_async._exports import name_exports

try:
    from schedules_async.temporal.activities import OperationActivities
    from schedules_async.temporal.payloads import OperationWait, Outcome, WaitProgress, WaitRequest
    from schedules_async.temporal.worker import schedules_worker
    from schedules_async.temporal.workflows import WaitForOperations
except ModuleNotFoundError as missing:
    if (missing.name or "").partition(".")[0] != "temporalio":
        raise
    raise ModuleNotFoundError(
        "schedules_async.temporal needs its extra: pip install 'schedules-async[temporal]'", name=missing.name
    ) from missing

__all__ = [
    "OperationActivities",
    "OperationWait",
    "Outcome",
    "WaitForOperations",
    "WaitProgress",
    "WaitRequest",
    "schedules_worker",
]

name_exports(__name__, globals(), __all__)
