"""An event loop in a thread of its own, on which a server runs for synchronous code."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from functools import partial
from threading import Thread

from attrs import define, field


@define(eq=False)
class ServerThread:
    """A thread that enters `server` on an event loop of its own, and leaves it when stopped."""

    _server: AbstractAsyncContextManager[object] = field(alias="server")
    _stop: "Future[Callable[[], object]]" = field(init=False, factory=Future)
    _thread: Thread = field(init=False)

    def start(self) -> None:
        """Start the thread, and return once the server is entered; raise what entering it raises."""
        self._thread = Thread(target=self._run, name="FakeSchedules", daemon=True)
        self._thread.start()
        self._stop.result()

    def stop(self) -> None:
        """Leave the server, and return once the thread has ended."""
        self._stop.result()()
        self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            if self._stop.done():
                raise
            self._stop.set_exception(error)

    async def _serve(self) -> None:
        stopped = asyncio.Event()
        async with self._server:
            self._stop.set_result(partial(asyncio.get_running_loop().call_soon_threadsafe, stopped.set))
            await stopped.wait()
