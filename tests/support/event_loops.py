"""What tests do with an event loop: run its other callbacks, or move its time forward."""

import asyncio


async def turns(count: int) -> None:
    """Run the event loop for `count` iterations."""
    for _ in range(count):
        await asyncio.sleep(0)


class HastyLoop(asyncio.SelectorEventLoop):
    """An event loop whose time moves only when a test adds to `ahead`, however slow the machine is.

    A `FakeClock` cannot do this: aiohttp's timeouts and `asyncio.timeout` run on the loop's own time.
    """

    ahead = 0.0

    def time(self) -> float:
        return self.ahead
