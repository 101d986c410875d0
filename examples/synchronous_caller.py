"""Wait from synchronous code: an event loop in a thread of its own, used by any number of threads."""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self, TypeVar

from schedules_async import OperationRef, SchedulesSession
from schedules_async.testing import FakeSchedules

Result = TypeVar("Result")


class LoopThread:
    """An event loop that runs in a thread while the `with` block does."""

    def __enter__(self) -> Self:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        return self

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine, such as a wait, on the loop; return its result or raise its exception."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


def main() -> None:
    with FakeSchedules() as server, LoopThread() as thread:
        session = SchedulesSession(server.token, base_url=server.url)  # one for all threads
        try:
            operation = thread.run(session.wait_for_operation(server.start_operation(duration=1), timeout=60))
            print(operation)

            def wait(ref: OperationRef) -> str:
                return str(thread.run(session.wait_for_operation(ref, timeout=60)))

            with ThreadPoolExecutor() as pool:
                print(*pool.map(wait, [server.start_operation(duration=1) for _ in range(3)]), sep="\n")
        finally:
            thread.run(session.close())


if __name__ == "__main__":
    main()
