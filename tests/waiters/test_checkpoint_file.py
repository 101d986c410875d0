import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

import schedules_async
from schedules_async import OperationRef, OperationWaiter, SchedulesSession
from schedules_async._waiters.checkpoint_file import CheckpointFile

TOP = Path(schedules_async.__file__).parents[1]
SAVE_IN_A_MOUNT = """
import asyncio, sys
from schedules_async import SchedulesSession
from schedules_async._waiters.checkpoint_file import CheckpointFile

async def save(path):
    async with SchedulesSession("some-token") as session:
        waiter = session.wait_for_operation("s", "o")
        await waiter.aclose()
        CheckpointFile(path).save(waiter)

try:
    asyncio.run(save(sys.argv[1]))
except OSError as error:
    print(error)
"""


@pytest.fixture
async def waiter(session: SchedulesSession) -> OperationWaiter:
    waiter = session.wait_for_operation("s", "o")
    await waiter.aclose()
    return waiter


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_saved_checkpoint_is_loaded_and_resumes(
    session: SchedulesSession, waiter: OperationWaiter, tmp_path: Path
) -> None:
    file = CheckpointFile(tmp_path / "wait.json")
    assert file.load() is None
    file.save(waiter)
    assert names_in(tmp_path) == ["wait.json"]
    text = file.load()
    assert text is not None
    (member,) = session.resume(text).members
    assert member.ref == OperationRef("s", "o")


def test_only_a_wait_can_be_saved(tmp_path: Path) -> None:
    waiter: Any = 5
    with pytest.raises(TypeError, match="waiter must be a wait of a session, not int"):
        CheckpointFile(tmp_path / "wait.json").save(waiter)
    assert names_in(tmp_path) == []


def test_path_is_taken_as_text(waiter: OperationWaiter, tmp_path: Path) -> None:
    file = CheckpointFile(str(tmp_path / "wait.json"))
    file.save(waiter)
    assert file.path == tmp_path / "wait.json"
    assert file.path.read_text() == waiter.checkpoint()


def test_save_leaves_open_readers_the_old_text(waiter: OperationWaiter, tmp_path: Path) -> None:
    path = tmp_path / "wait.json"
    path.write_text("old")
    with path.open() as reader:
        CheckpointFile(path).save(waiter)
        assert reader.read() == "old"
    assert path.read_text() == waiter.checkpoint()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
@pytest.mark.parametrize(("before", "after"), [(None, 0o640), (0o664, 0o664), (0o600, 0o600), (0o444, 0o444)])
def test_save_keeps_the_mode_or_uses_the_umask(
    waiter: OperationWaiter, tmp_path: Path, before: int | None, after: int
) -> None:
    path = tmp_path / "wait.json"
    with umask(0o027):
        if before is not None:
            path.touch()
            path.chmod(before)
        CheckpointFile(path).save(waiter)
    assert mode_of(path) == after


@pytest.mark.skipif(sys.platform == "win32", reason="links need permission")
@pytest.mark.parametrize("exists", [False, True])
def test_link_stays_and_its_file_is_used(waiter: OperationWaiter, tmp_path: Path, *, exists: bool) -> None:
    link, folder = tmp_path / "link", tmp_path / "elsewhere"
    folder.mkdir()
    link.symlink_to(Path("elsewhere", "wait.json"))
    if exists:
        (folder / "wait.json").write_text("old")
    file = CheckpointFile(link)
    file.save(waiter)
    assert link.is_symlink()
    assert (folder / "wait.json").read_text() == file.load() == waiter.checkpoint()
    file.remove()
    assert (link.is_symlink(), names_in(folder), file.load()) == (True, [], None)


def test_remove_deletes_the_file_if_any(waiter: OperationWaiter, tmp_path: Path) -> None:
    file = CheckpointFile(tmp_path / "wait.json")
    file.save(waiter)
    file.remove()
    file.remove()
    assert names_in(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such pipes, and other texts of errors")
@pytest.mark.parametrize(
    ("name", "reason"), [("", "Is a directory"), ("none/wait.json", "No such file"), ("pipe", "Not a regular file")]
)
def test_unusable_path_is_an_error_that_names_it(
    waiter: OperationWaiter, tmp_path: Path, name: str, reason: str
) -> None:
    """A pipe would block its reader for ever, and a device would become a file."""
    os.mkfifo(tmp_path / "pipe")
    path = tmp_path / name
    with pytest.raises(OSError, match=reason) as raised:
        CheckpointFile(path).save(waiter)
    assert raised.value.filename == str(path)
    assert names_in(tmp_path) == ["pipe"]
    if "file" not in reason or name == "pipe":
        with pytest.raises(OSError, match=reason):
            CheckpointFile(path).load()


def test_removing_a_directory_names_it(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=re.escape(str(tmp_path))):
        CheckpointFile(tmp_path).remove()


def save_in_a_mount() -> tuple[str, list[str]]:
    """Save to a file that is a mount point of its own; return what was printed, and the names in its folder."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "wait.json")
        path.touch()
        mount = f'mount --bind {path} {path} && exec "$@"'
        command = ("unshare", "-m", "sh", "-c", mount, "sh", sys.executable, "-c", SAVE_IN_A_MOUNT, str(path))
        done = subprocess.run(
            command, env={**os.environ, "PYTHONPATH": str(TOP)}, capture_output=True, text=True, check=False
        )
        return done.stdout.replace(folder, "") + done.stderr, names_in(Path(folder))


def may_mount() -> bool:
    """Return True if this process may make a mount of its own."""
    try:
        return subprocess.run(("unshare", "-m", "true"), capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.mark.skipif(not may_mount(), reason="mounts need permission")
@pytest.mark.parametrize("early", [save_in_a_mount], indirect=True)
def test_mounted_file_is_an_error_that_names_it(early: tuple[str, list[str]]) -> None:
    """`docker run -v file:file` makes one; nothing can replace it."""
    assert early == ("[Errno 16] Device or resource busy: '/wait.json'\n", ["wait.json"])
