"""An event loop in a thread of its own, on which a server runs for synchronous code."""

import asyncio
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from threading import Thread
from typing import Any

from attrs import define, field


@define(eq=False)
class ServerThread:
    """A thread with an event loop, on which `server` is entered by `start` and left by `stop`."""

    _server: AbstractAsyncContextManager[object] = field(alias="server")
    _loop: asyncio.AbstractEventLoop = field(init=False)
    _thread: Thread = field(init=False)

    def start(self) -> None:
        """Start the thread, and return once the server is entered; raise what entering it raises."""
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="FakeSchedules", daemon=True)
        self._thread.start()
        try:
            self._run(self._server.__aenter__())
        except BaseException:
            self._end()
            raise

    def stop(self) -> None:
        """Leave the server, and return once the thread has ended; raise what leaving it raises."""
        try:
            self._run(self._server.__aexit__(None, None, None))
        finally:
            self._end()

    def _run(self, coroutine: Coroutine[Any, Any, object]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def _end(self) -> None:
        self._run(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
