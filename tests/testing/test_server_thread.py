import threading
from types import TracebackType
from typing import Self

import pytest
from attrs import define, field

from schedules_async.testing.server_thread import ServerThread


@define(eq=False)
class Server:
    """Records the thread in which it is entered and left."""

    error_of_entering: Exception | None = None
    error_of_leaving: Exception | None = None
    threads: list[int] = field(factory=list)

    async def __aenter__(self) -> Self:
        self.threads.append(threading.get_ident())
        if self.error_of_entering is not None:
            raise self.error_of_entering
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.threads.append(threading.get_ident())
        if self.error_of_leaving is not None:
            raise self.error_of_leaving


def test_server_is_entered_and_left_in_thread() -> None:
    before, server = threading.active_count(), Server()
    thread = ServerThread(server)
    thread.start()
    assert threading.active_count() == before + 1
    thread.stop()
    entered, left = server.threads
    assert entered == left != threading.get_ident()
    assert threading.active_count() == before


def test_error_of_entering_is_raised_by_start() -> None:
    before = threading.active_count()
    with pytest.raises(OSError, match="in use"):
        ServerThread(Server(OSError("in use"))).start()
    assert threading.active_count() == before


def test_error_of_leaving_is_raised_by_stop() -> None:
    before, thread = threading.active_count(), ServerThread(Server(error_of_leaving=OSError("lost")))
    thread.start()
    with pytest.raises(OSError, match="lost"):
        thread.stop()
    assert threading.active_count() == before
