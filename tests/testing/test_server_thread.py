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
    server = Server()
    thread = ServerThread(server)
    thread.start()
    assert thread._thread.is_alive()
    thread.stop()
    entered, left = server.threads
    assert entered == left != threading.get_ident()
    assert not thread._thread.is_alive()


def test_error_of_entering_is_raised_by_start() -> None:
    thread = ServerThread(Server(OSError("in use")))
    with pytest.raises(OSError, match="in use"):
        thread.start()
    assert not thread._thread.is_alive()


def test_error_of_leaving_is_raised_by_stop() -> None:
    thread = ServerThread(Server(error_of_leaving=OSError("lost")))
    thread.start()
    with pytest.raises(OSError, match="lost"):
        thread.stop()
    assert not thread._thread.is_alive()
