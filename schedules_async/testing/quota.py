"""A quota of requests in fixed windows of the clock."""

import math

from attrs import define, field


@define(eq=False)
class WindowCounter:
    """A count of the requests in the current window; windows start at multiples of their length."""

    _window: tuple[float, float] = field(init=False, default=(0.0, 0.0))
    _count: int = field(init=False, default=0)

    def count(self, now: float, calls: int, length: float) -> float | None:
        """Count one request and return None, or return the seconds until the next window once `calls` are counted."""
        start = now // length * length
        if self._window != (start, length):
            self._window, self._count = (start, length), 0
        if self._count < calls:
            self._count += 1
            return None
        return max(math.ceil(start + length - now), 1)
