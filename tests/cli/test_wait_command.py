from pathlib import Path

import pytest

from schedules_async import CheckpointFile, Operation, OperationRef, TimeRemaining
from schedules_async._waiters.checkpoint import Checkpoint
from schedules_async.cli.reports import Report
from schedules_async.cli.service import Service
from schedules_async.cli.wait_command import Output, fetch, wait_for_all
from schedules_async.errors import NotFoundError, OperationFailedError, OperationStalledError, OperationTimeoutError
from schedules_async.testing import FakeSchedules, operation_answer

UNLIMITED = float("inf")


def service_of(server: FakeSchedules) -> Service:
    return Service(server.url, server.token)


def plan(*refs: OperationRef, timeout: float = UNLIMITED, stall_timeout: float = UNLIMITED) -> Checkpoint:
    return Checkpoint(refs, {}, is_group=True, check=False, timeout=timeout, stall_timeout=stall_timeout)


class Record(Report):
    """Keeps what is reported."""

    def __init__(self) -> None:
        self.statuses: list[str] = []
        self.lost: list[tuple[OperationRef, type[Exception]]] = []

    def on_change(self, operation: Operation, remaining: TimeRemaining | None = None) -> None:
        del remaining
        self.statuses.append(operation.raw_status)

    def on_loss(self, ref: OperationRef, error: Exception) -> None:
        self.lost.append((ref, type(error)))


async def test_fetch_reports_the_operation() -> None:
    report = Record()
    async with FakeSchedules() as server:
        ref = server.script_operation(operation_answer("Started", percent_complete=30))
        assert await fetch(service_of(server), ref, report) == []
        assert report.statuses == ["Started"]
        assert len(server.requests) == 1


async def test_wait_reports_changes_and_returns_errors() -> None:
    report = Record()
    async with FakeSchedules() as server:
        failing = server.script_operation(
            operation_answer("Queued"), operation_answer("Failed", failure_description="No room")
        )
        good, gone = server.script_operation(operation_answer("Succeeded")), OperationRef("no", "such")
        errors = await wait_for_all(service_of(server), plan(failing, good, gone), Output(report, {}))
    assert sorted(report.statuses) == ["Failed", "Queued", "Succeeded"]
    assert [type(error) for error in errors] == [OperationFailedError, NotFoundError]
    assert str(errors[0]) == f"{failing} failed: No room"
    assert report.lost == [(gone, NotFoundError)]


@pytest.mark.parametrize(
    ("limit", "error"), [("timeout", OperationTimeoutError), ("stall_timeout", OperationStalledError)]
)
async def test_wait_times_out_and_keeps_the_checkpoint(limit: str, error: type[Exception], tmp_path: Path) -> None:
    path = tmp_path / "wait.json"
    async with FakeSchedules() as server:
        ref = server.script_operation(operation_answer("Started"))
        output = Output(Report(), {}, file=CheckpointFile(path))
        errors = await wait_for_all(service_of(server), plan(ref, **{limit: 0.05}), output)
    assert [type(each) for each in errors] == [error]
    assert path.exists()
