"""How many requests a fake server takes in each fixed window of its clock."""

import math

from attrs import define, field


@define(eq=False)
class WindowCounter:
    """Counts the requests of the current window; windows start at multiples of their length."""

    _window: tuple[float, float] = field(init=False, default=(0.0, 0.0))
    _taken: int = field(init=False, default=0)

    def take(self, now: float, calls: int, length: float) -> float | None:
        """Count one request, or give the seconds until the next window when `calls` were taken in this one."""
        start = now // length * length
        if self._window != (start, length):
            self._window, self._taken = (start, length), 0
        if self._taken < calls:
            self._taken += 1
            return None
        return max(math.ceil(start + length - now), 1)
