from pathlib import Path

import click
import pytest
from event_loops import turns

from schedules_async import OperationGroupWaiter, OperationRef, SchedulesSession
from schedules_async._waiters.checkpoint import read_checkpoint
from schedules_async.cli.saving import load_checkpoint, saved, write_whole
from schedules_async.testing import FakeSchedules

REFS = (OperationRef("s", "a"), OperationRef("s", "b"))


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def percents(path: Path) -> list[float]:
    return [operation.percent_complete for operation in read_checkpoint(path.read_text()).seen.values()]


def begin(server: FakeSchedules, session: SchedulesSession) -> OperationGroupWaiter:
    for ref in REFS:
        server.start_operation(10, schedule_id=ref.schedule_id, operation_id=ref.operation_id)
    return session.wait_for_operations(REFS)


async def test_the_file_is_there_at_once_follows_each_change_and_goes_in_the_end(
    server: FakeSchedules, session: SchedulesSession, tmp_path: Path
) -> None:
    path, waiter = tmp_path / "wait.json", begin(server, session)
    kept = []
    async with saved(waiter, path):
        kept.append(percents(path))
        async for _ in waiter:
            await turns(5)
            kept.append(percents(path))
            assert names_in(tmp_path) == ["wait.json"]
    assert kept[0] == []
    assert kept[1] != []
    assert names_in(tmp_path) == []


async def test_it_stays_as_it_stands_while_an_operation_has_not_ended(
    server: FakeSchedules, session: SchedulesSession, tmp_path: Path
) -> None:
    path, waiter = tmp_path / "wait.json", begin(server, session)
    server.forget_operation(REFS[1])
    async with saved(waiter, path):
        async for _ in waiter:
            break
    resumed = load_checkpoint(path, REFS)
    assert resumed is not None
    assert (resumed.refs, list(resumed.seen)) == (REFS, [REFS[0]])


async def test_a_file_that_cannot_be_written_is_told_before_anything_is_asked(
    server: FakeSchedules, session: SchedulesSession, tmp_path: Path
) -> None:
    waiter = begin(server, session)
    with pytest.raises(OSError, match="directory"):
        async with saved(waiter, tmp_path):
            await waiter
    assert server.requests == []
    assert list(tmp_path.parent.glob(".tmp*")) == []


async def test_a_disk_that_is_full_for_a_while_costs_no_wait_its_end(
    server: FakeSchedules, session: SchedulesSession, tmp_path: Path
) -> None:
    folder, waiter = tmp_path / "folder", begin(server, session)
    folder.mkdir()
    async with saved(waiter, folder / "wait.json"):
        folder.rename(tmp_path / "elsewhere")
        await waiter
    assert waiter.percent_complete == 100


async def test_without_a_file_nothing_is_written(
    server: FakeSchedules, session: SchedulesSession, tmp_path: Path
) -> None:
    async with saved(begin(server, session), None):
        assert names_in(tmp_path) == []


def test_a_file_is_replaced_at_a_stroke(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with path.open() as reader:
        write_whole(path, "new")
        assert (reader.read(), path.read_text()) == ("old", "new")


def test_no_file_is_no_checkpoint_yet(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "none", REFS) is None


async def test_it_is_resumed_for_the_same_operations_or_without_any(session: SchedulesSession, tmp_path: Path) -> None:
    path = tmp_path / "wait.json"
    path.write_text(session.wait_for_operations(REFS).checkpoint())
    for refs in ((), REFS, REFS[::-1], REFS * 2):
        resumed = load_checkpoint(path, refs)
        assert resumed is not None
        assert resumed.refs == REFS
    with pytest.raises(click.UsageError, match="other operations"):
        load_checkpoint(path, REFS[:1])


def test_a_file_that_is_no_checkpoint_is_a_usage_error(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("{}")
    with pytest.raises(click.UsageError, match="cannot be resumed: this is no checkpoint"):
        load_checkpoint(path, REFS)
    with pytest.raises(click.UsageError, match="cannot be read: Is a directory"):
        load_checkpoint(tmp_path, REFS)
    with pytest.raises(click.UsageError, match="no folder for the checkpoint"):
        load_checkpoint(tmp_path / "none" / "file", REFS)
