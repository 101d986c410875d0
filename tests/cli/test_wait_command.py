import asyncio
from pathlib import Path

import click
import pytest
from attrs import field, frozen

from schedules_async import (
    CheckpointFile,
    Operation,
    OperationGroupWaiter,
    OperationRef,
    RetryPolicy,
    SchedulesSession,
    TimeRemaining,
)
from schedules_async._waiters.checkpoint import Checkpoint, read_checkpoint
from schedules_async.cli.reports import CommandError, Lines, Names
from schedules_async.cli.service import open_session
from schedules_async.cli.wait_command import Opening, checkpointed, fetch, make_plan, wait_for_all
from schedules_async.errors import (
    NotFoundError,
    OperationFailedError,
    OperationGroupError,
    OperationStalledError,
    OperationTimeoutError,
)
from schedules_async.testing import FakeSchedules, operation_answer

REFS = (OperationRef("s", "a"), OperationRef("s", "b"))


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def percents(path: Path) -> list[float]:
    return [operation.percent_complete for operation in read_checkpoint(path.read_text()).saved.values()]


def begin(server: FakeSchedules, session: SchedulesSession) -> OperationGroupWaiter:
    for ref in REFS:
        server.start_operation(10, schedule_id=ref.schedule_id, operation_id=ref.operation_id)
    return session.wait_for_operations(REFS)


async def test_file_is_saved_after_each_change_then_deleted(
    server: FakeSchedules, session: SchedulesSession, tmp_path: Path
) -> None:
    path, waiter = tmp_path / "wait.json", begin(server, session)
    saved = []
    with checkpointed(waiter, CheckpointFile(path)):
        saved.append(percents(path))
        async for _ in waiter:
            for _ in range(5):  # until the other task has saved the change
                await asyncio.sleep(0)
            saved.append(percents(path))
            assert names_in(tmp_path) == ["wait.json"]
    assert saved[0] == []
    assert saved[1] != []
    assert names_in(tmp_path) == []


async def test_file_stays_while_an_operation_has_not_ended(
    server: FakeSchedules, session: SchedulesSession, tmp_path: Path
) -> None:
    path, waiter = tmp_path / "wait.json", begin(server, session)
    server.forget_operation(REFS[1])
    with checkpointed(waiter, CheckpointFile(path)):
        async for _ in waiter:
            break
    resumed = make_plan(REFS, CheckpointFile(path), UNLIMITED, UNLIMITED)
    assert (resumed.refs, list(resumed.saved)) == (REFS, [REFS[0]])


async def test_unwritable_file_is_an_error_before_any_request(
    server: FakeSchedules, session: SchedulesSession, tmp_path: Path
) -> None:
    waiter = begin(server, session)
    before = names_in(tmp_path.parent)
    sentence = r"checkpoint file .* cannot be replaced: Is a directory"
    with (
        pytest.raises(click.UsageError, match=sentence) as raised,
        checkpointed(waiter, CheckpointFile(tmp_path)),
    ):
        await waiter
    assert (raised.value.exit_code, server.requests) == (2, [])
    assert names_in(tmp_path.parent) == before
    await waiter.aclose()


async def test_save_fails_later_wait_still_ends(
    server: FakeSchedules, session: SchedulesSession, tmp_path: Path
) -> None:
    folder, waiter = tmp_path / "folder", begin(server, session)
    folder.mkdir()
    with checkpointed(waiter, CheckpointFile(folder / "wait.json")):
        folder.rename(tmp_path / "elsewhere")
        await waiter
    assert waiter.percent_complete == 100


async def test_last_save_fails_is_an_error(server: FakeSchedules, session: SchedulesSession, tmp_path: Path) -> None:
    folder, waiter = tmp_path / "folder", begin(server, session)
    folder.mkdir()
    with (
        pytest.raises(CommandError, match=r"checkpoint file .* could not be updated .*: No such file") as raised,
        checkpointed(waiter, CheckpointFile(folder / "wait.json")),
    ):
        folder.rename(tmp_path / "elsewhere")
    assert raised.value.exit_code == 4


def test_plan_without_file_is_new(tmp_path: Path) -> None:
    planned = make_plan(REFS, CheckpointFile(tmp_path / "none"), 9, UNLIMITED)
    assert (planned.refs, planned.saved, planned.timeout) == (REFS, {}, 9)
    assert make_plan(REFS, None, 9, UNLIMITED) == planned


async def test_plan_from_file_requires_the_same_operations(session: SchedulesSession, tmp_path: Path) -> None:
    path = tmp_path / "wait.json"
    waiter = session.wait_for_operations(REFS)
    path.write_text(waiter.checkpoint())
    await waiter.aclose()
    for refs in ((), REFS, REFS[::-1], REFS * 2):
        resumed = make_plan(refs, CheckpointFile(path), UNLIMITED, UNLIMITED)
        assert resumed.refs == REFS
    with pytest.raises(click.UsageError, match="is for other operations"):
        make_plan(REFS[:1], CheckpointFile(path), UNLIMITED, UNLIMITED)


def test_plan_from_unusable_file_is_a_usage_error(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("{}")
    with pytest.raises(click.UsageError, match=r"Cannot resume from .*/file: the text is not a checkpoint"):
        make_plan(REFS, CheckpointFile(path), UNLIMITED, UNLIMITED)
    with pytest.raises(click.UsageError, match="cannot be read: Is a directory"):
        make_plan(REFS, CheckpointFile(tmp_path), UNLIMITED, UNLIMITED)
    with pytest.raises(click.UsageError, match="directory of the checkpoint file"):
        make_plan(REFS, CheckpointFile(tmp_path / "none" / "file"), UNLIMITED, UNLIMITED)


UNLIMITED = float("inf")


def opening(server: FakeSchedules) -> Opening:
    return open_session(server.url, server.token, RetryPolicy())


def plan(*refs: OperationRef, timeout: float = UNLIMITED, stall_timeout: float = UNLIMITED) -> Checkpoint:
    return Checkpoint(refs, {}, is_group=True, check=True, timeout=timeout, stall_timeout=stall_timeout)


@frozen
class Record(Lines):
    """Keeps what is reported."""

    names: Names = field(factory=dict)
    statuses: list[str] = field(factory=list)

    def on_change(self, operation: Operation, remaining: TimeRemaining | None = None) -> None:
        del remaining
        self.statuses.append(operation.raw_status)


async def test_fetch_reports_the_operation() -> None:
    report = Record()
    async with FakeSchedules() as server:
        ref = server.script_operation(operation_answer("Started", percent_complete=30))
        await fetch(opening(server), ref, report)
        assert report.statuses == ["Started"]
        assert len(server.requests) == 1


async def test_fetch_of_failed_operation_raises_its_error() -> None:
    report = Record()
    async with FakeSchedules() as server:
        ref = server.script_operation(operation_answer("Failed"))
        with pytest.raises(OperationFailedError, match="failed: no reason given"):
            await fetch(opening(server), ref, report)
    assert report.statuses == ["Failed"]


async def test_wait_reports_changes_and_raises_errors() -> None:
    report = Record()
    async with FakeSchedules() as server:
        failing = server.script_operation(
            operation_answer("Queued"), operation_answer("Failed", failure_description="No room")
        )
        good, gone = server.script_operation(operation_answer("Succeeded")), OperationRef("no", "such")
        with pytest.raises(OperationGroupError) as raised:
            await wait_for_all(opening(server), plan(failing, good, gone), report)
    errors = raised.value.errors
    assert sorted(report.statuses) == ["Failed", "Queued", "Succeeded"]
    assert [(ref, type(error)) for ref, error in errors.items()] == [
        (failing, OperationFailedError),
        (gone, NotFoundError),
    ]
    assert str(errors[failing]) == f"{failing} failed: No room"


@pytest.mark.parametrize(
    ("limit", "error"), [("timeout", OperationTimeoutError), ("stall_timeout", OperationStalledError)]
)
async def test_wait_times_out_and_keeps_the_checkpoint(limit: str, error: type[Exception], tmp_path: Path) -> None:
    path = tmp_path / "wait.json"
    async with FakeSchedules() as server:
        ref = server.script_operation(operation_answer("Started"))
        file = CheckpointFile(path)
        with pytest.raises(OperationGroupError) as raised:
            await wait_for_all(opening(server), plan(ref, **{limit: 0.05}), Record(), file=file)
    assert [type(each) for each in raised.value.exceptions] == [error]
    assert path.exists()
