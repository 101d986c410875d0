"""A file that holds the checkpoint of a wait, and is replaced in one step."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from attrs import field, frozen

from schedules_async._waiters.waiter import Waiter

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)  # O_BINARY is Windows' only


@frozen
class CheckpointFile:
    """The checkpoint of a wait in a file: if it is saved after each change, another process can resume the wait.

    A reader of the file sees the old checkpoint or the new one, never a part of one, even if the process is killed.
    The file keeps its mode; a new one gets the mode that the umask leaves. If `path` is a symbolic link, it stays one,
    and the file that it points to is saved, loaded and removed. A file that cannot be replaced in one step raises
    an OSError that names it: a device, a file that is a mount point, a file in a folder without write permission.
    Save the waiter once before it is used, so that such an error occurs before the wait begins.

    >>> CheckpointFile("no such folder/wait.json").load() is None
    True
    """

    path: Path = field(converter=Path)

    def load(self) -> str | None:
        """Return the checkpoint, for `SchedulesSession.resume`; None if there is no file.

        Raise OSError if the file cannot be read, and ValueError if it is not UTF-8.
        """
        text = None
        with self._naming_the_file():
            if self._find_mode() is not None:
                text = self.path.read_text("utf-8")
        return text

    def save(self, waiter: Waiter[Any]) -> None:
        """Replace the file with the checkpoint of a waiter; raise OSError, and change nothing, if that fails."""
        if not isinstance(waiter, Waiter):
            raise TypeError(f"waiter must be a wait of a session, not {type(waiter).__name__}")
        text = waiter.checkpoint()
        with self._naming_the_file():
            self._replace(text.encode(), self._find_mode())

    def remove(self) -> None:
        """Delete the file, if there is one; raise OSError if it cannot be deleted."""
        with self._naming_the_file():
            self._target.unlink(missing_ok=True)

    @property
    def _target(self) -> Path:
        """The file itself, where the path is a symbolic link."""
        return Path(os.path.realpath(self.path))

    def _find_mode(self) -> int | None:
        """Return the permissions of the file, None if there is none; raise OSError unless it is a regular file."""
        try:
            mode = self.path.stat().st_mode
        except FileNotFoundError:
            return None
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(mode):  # a device must not become a file, and a pipe may block for ever
            raise OSError(errno.EINVAL, "Not a regular file")
        return stat.S_IMODE(mode)

    def _replace(self, content: bytes, mode: int | None) -> None:
        target = self._target
        draft = target.with_name(f".schedules-async-{os.urandom(8).hex()}")
        descriptor = os.open(draft, _FLAGS, 0o666 if mode is None else mode)
        with ExitStack() as cleanup:
            cleanup.callback(draft.unlink)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if mode is not None:
                draft.chmod(mode)
            draft.replace(target)
            cleanup.pop_all()

    @contextmanager
    def _naming_the_file(self) -> Iterator[None]:
        """Make an OSError name the file, not the draft beside it."""
        try:
            yield
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path)) from error
