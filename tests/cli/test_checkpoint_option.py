import asyncio
from pathlib import Path

import click
import pytest

from schedules_async import CheckpointFile, OperationGroupWaiter, OperationRef, SchedulesSession
from schedules_async._waiters.checkpoint import read_checkpoint
from schedules_async.cli.checkpoint_option import checkpointed, load_checkpoint
from schedules_async.cli.exit_codes import CommandError
from schedules_async.testing import FakeSchedules

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
    async with checkpointed(waiter, CheckpointFile(path)):
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
    async with checkpointed(waiter, CheckpointFile(path)):
        async for _ in waiter:
            break
    resumed = load_checkpoint(CheckpointFile(path), REFS)
    assert resumed is not None
    assert (resumed.refs, list(resumed.saved)) == (REFS, [REFS[0]])


async def test_unwritable_file_is_an_error_before_any_request(
    server: FakeSchedules, session: SchedulesSession, tmp_path: Path
) -> None:
    waiter = begin(server, session)
    before = names_in(tmp_path.parent)
    with pytest.raises(CommandError, match=r"checkpoint file .* cannot be replaced: Is a directory") as raised:
        async with checkpointed(waiter, CheckpointFile(tmp_path)):
            await waiter
    assert (raised.value.exit_code, server.requests) == (2, [])
    assert names_in(tmp_path.parent) == before
    await waiter.aclose()


async def test_save_fails_later_wait_still_ends(
    server: FakeSchedules, session: SchedulesSession, tmp_path: Path
) -> None:
    folder, waiter = tmp_path / "folder", begin(server, session)
    folder.mkdir()
    async with checkpointed(waiter, CheckpointFile(folder / "wait.json")):
        folder.rename(tmp_path / "elsewhere")
        await waiter
    assert waiter.percent_complete == 100


async def test_last_save_fails_is_an_error(server: FakeSchedules, session: SchedulesSession, tmp_path: Path) -> None:
    folder, waiter = tmp_path / "folder", begin(server, session)
    folder.mkdir()

    async def lose_the_folder() -> None:
        async with checkpointed(waiter, CheckpointFile(folder / "wait.json")):
            folder.rename(tmp_path / "elsewhere")

    with pytest.raises(CommandError, match=r"checkpoint file .* could not be updated .*: No such file") as raised:
        await lose_the_folder()
    assert raised.value.exit_code == 4


def test_load_without_file_returns_none(tmp_path: Path) -> None:
    assert load_checkpoint(CheckpointFile(tmp_path / "none"), REFS) is None


async def test_load_requires_the_same_operations_or_none(session: SchedulesSession, tmp_path: Path) -> None:
    path = tmp_path / "wait.json"
    waiter = session.wait_for_operations(REFS)
    path.write_text(waiter.checkpoint())
    await waiter.aclose()
    for refs in ((), REFS, REFS[::-1], REFS * 2):
        resumed = load_checkpoint(CheckpointFile(path), refs)
        assert resumed is not None
        assert resumed.refs == REFS
    with pytest.raises(click.UsageError, match="is for other operations"):
        load_checkpoint(CheckpointFile(path), REFS[:1])


def test_load_unusable_file_is_a_usage_error(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("{}")
    with pytest.raises(click.UsageError, match=r"Cannot resume from .*/file: the text is not a checkpoint"):
        load_checkpoint(CheckpointFile(path), REFS)
    with pytest.raises(click.UsageError, match="cannot be read: Is a directory"):
        load_checkpoint(CheckpointFile(tmp_path), REFS)
    with pytest.raises(click.UsageError, match="directory of the checkpoint file"):
        load_checkpoint(CheckpointFile(tmp_path / "none" / "file"), REFS)
