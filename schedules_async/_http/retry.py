"""When to repeat after a fault, and after how long a pause. Pure."""

import math

import backoff
from attrs import field, frozen
from attrs.validators import ge, instance_of

from schedules_async._clock import to_seconds
from schedules_async.errors import ResponseError, TransportError

_PASSING_STATUSES = frozenset({408, 500, 502, 503, 504})


@frozen
class RetryPolicy:
    """How faults are met: connection faults, timeouts, 408, 500, 502, 503 and 504 are repeated, with full jitter.

    `attempts` counts all of them, 1 repeats nothing (default 5; in a wait, consecutive ones); the pause before
    the n-th repeat is drawn from 0 to `base` (0.5 s) doubled n-1 times, at most `max_pause` (30 s). A call of
    `get_operation` lets itself be refused for `max_retry_after` (120 s) in all.

    The longest pauses before the first repeats, and before a late one:

    >>> [pause_before_repeat(RetryPolicy(), repeat, 1.0) for repeat in (1, 2, 3, 4, 20)]
    [0.5, 1.0, 2.0, 4.0, 30.0]
    """

    attempts: int = field(default=5, validator=[instance_of(int), ge(1)])
    base: float = field(default=0.5, converter=to_seconds)
    max_pause: float = field(default=30.0, converter=to_seconds)
    max_retry_after: float = field(default=120.0, converter=to_seconds)

    @base.validator
    @max_pause.validator
    @max_retry_after.validator
    def _check_seconds(self, attribute: object, value: float) -> None:
        if math.isnan(value) or value < 0:
            raise ValueError(f"{getattr(attribute, 'name', 'seconds')} must not be negative, and is {value}")


def is_passing(error: Exception) -> bool:
    """Tell whether a fault may be gone at the next attempt."""
    if isinstance(error, TransportError):
        return not error.is_certificate_failure
    return isinstance(error, ResponseError) and error.status in _PASSING_STATUSES


def pause_before_repeat(policy: RetryPolicy, repeat: int, sample: float) -> float:
    """Give the seconds before the `repeat`-th repeat (from 1), `sample` in [0, 1) of the longest (full jitter)."""
    waits = backoff.expo(base=2, factor=policy.base, max_value=policy.max_pause)
    waits.send(None)  # the generator gives nothing at first
    longest = 0.0
    for _ in range(min(repeat, 64)):
        longest = next(waits)
    return sample * longest
