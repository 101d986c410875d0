"""Single fetches: what `get_operation` awaits."""

import asyncio
import math

from attrs import define, field

from schedules_async._operations.operation import Operation
from schedules_async._polling.poller import Ending, Subscriber


@define(eq=False, repr=False)
class SingleFetch(Subscriber):
    """One call that awaits one fetch; `max_retry_after` bounds the total time for which it may be throttled."""

    policy: None = None
    max_retry_after: float = math.inf
    learns: bool = False
    _ending: "asyncio.Future[Ending]" = field(init=False)
    _throttled_since: float | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self._ending = asyncio.get_running_loop().create_future()

    async def result(self) -> Operation:
        """Return the snapshot, or raise the error of the fetch."""
        ending = await self._ending
        try:
            if isinstance(ending, BaseException):
                raise ending
            return ending
        finally:
            del self, ending  # avoid a cycle of the exception, its traceback and this frame

    def tolerates(self, until: float, now: float) -> bool:
        """Return True if the gate opens within `max_retry_after` seconds of the first call of this method."""
        if self._throttled_since is None:
            self._throttled_since = now
        return until - self._throttled_since <= self.max_retry_after

    def conclude(self, operation: Operation, _: float) -> Ending | None:
        """Return the snapshot, which ends the call."""
        return operation

    def on_change(self, operation: Operation) -> None:
        """Ignore the snapshot, which is also the ending."""

    def on_end(self, ending: Ending) -> None:
        """Pass the ending to the caller, unless the caller was cancelled."""
        if not self._ending.done():
            self._ending.set_result(ending)
