"""How often transient faults are retried, and after which backoff delay. Pure."""

from itertools import islice

import backoff
from attrs import field, frozen
from attrs.validators import ge, instance_of

from schedules_async._clock import to_seconds


@frozen
class RetryPolicy:
    """How transient faults are retried: connection faults, timeouts, 408, 500, 502, 503 and 504.

    A single fetch gives up after `attempts` transient faults (default 5; 1 disables retries). A wait gives up later:
    once it has met that many faults in a row and `max_outage` (300) seconds have passed since the first of them. With 0
    `attempts` alone decides, with `math.inf` the wait's own timeout. The delay before the n-th retry is drawn from 0
    to `base` (0.5 s) doubled n-1 times, at most `max_pause` (30 s).

    A 429 is not a fault. `max_retry_after` (120 s) is the longest that 429s may delay a single fetch in total. A wait
    ignores it, and ends when a 429 would pause it for longer than `PollingPolicy.max_retry_after`. Negative seconds and
    NaN raise ValueError.

    The longest delays before the first retries, and before a late one:

    >>> [backoff_delay(RetryPolicy(), retry, 1.0) for retry in (1, 2, 3, 4, 20)]
    [0.5, 1.0, 2.0, 4.0, 30.0]
    """

    attempts: int = field(default=5, validator=[instance_of(int), ge(1)])
    base: float = field(default=0.5, converter=to_seconds, validator=ge(0))
    max_pause: float = field(default=30.0, converter=to_seconds, validator=ge(0))
    max_retry_after: float = field(default=120.0, converter=to_seconds, validator=ge(0))
    max_outage: float = field(default=300.0, converter=to_seconds, validator=ge(0))

    @attempts.validator
    def _check_attempts(self, _: object, value: int) -> None:
        if isinstance(value, bool):
            raise TypeError("attempts must be a number, not a bool")


def backoff_delay(policy: RetryPolicy, retry: int, sample: float) -> float:
    """Return the seconds before the `retry`-th retry (from 1): `sample` times the longest, which is full jitter."""
    delays = backoff.expo(base=2, factor=policy.base, max_value=policy.max_pause)  # it yields None first
    longest: float = next(islice(delays, min(retry, 64), None))
    return sample * longest
