"""The polling policy: the interval until the next poll, from the progress of one operation. Pure.

A request costs as much as `cost` seconds of detection delay: the next poll is due when the expected detection delay
reaches that. Readings of a clock and uniform samples are arguments.
"""

import math
from hashlib import blake2b
from typing import ClassVar, Self

from attrs import Attribute, Factory, field, frozen
from attrs.validators import ge, gt, instance_of, lt

from schedules_async._clock import Seconds, to_seconds
from schedules_async._operations.ref import OperationRef
from schedules_async._polling.experience import interval_among
from schedules_async._polling.forecast import Progress

_TRUST = 2.0  # limit of a predicted interval, as a multiple of the one that follows from the age alone
_WINDOW_GROWTH = 1.1  # the factor of the interval for each further poll inside the finish window
_SHORTEST_INTERVAL = 0.05  # seconds; the lower bound for a caller's own policy, unless its `min_interval` is shorter
_MAX_GROWTHS = 99  # keeps the interval finite


def _default_max_interval(policy: "PollingPolicy") -> float:
    return max(13.0, policy.min_interval)


@frozen
class PollingPolicy:
    """How often to poll; all arguments but `jitter` are seconds, each a number or a `timedelta`.

    `cost` (0.5) is the detection delay that you accept to save one request; it is usually all that needs tuning.
    `min_interval` (0.5) is the lower bound of every interval, `max_interval` (13) the upper bound of one without
    credible progress, and `max_predicted_interval` (39) that of any interval; it is never below `max_interval`. If
    `max_interval` is not given it is at least `min_interval`. `jitter` (0.1) spreads the intervals by this fraction.
    A wait goes on after a 404 until `not_found_grace` (0) seconds after its start. `max_retry_after` (3600) is the
    longest throttling that a wait sleeps through. A value out of range raises ValueError.

    >>> policy = PollingPolicy(cost=2, max_interval=60)
    >>> policy.max_predicted_interval
    60.0
    >>> PollingPolicy(min_interval=30).max_interval
    30.0
    >>> PollingPolicy(jitter=1)
    Traceback (most recent call last):
    ValueError: 'jitter' must be < 1: 1
    """

    EAGER: ClassVar["PollingPolicy"]
    FRUGAL: ClassVar["PollingPolicy"]

    cost: float = field(default=0.5, converter=to_seconds, validator=[gt(0), lt(math.inf)])
    min_interval: float = field(default=0.5, converter=to_seconds, validator=[gt(0), lt(math.inf)])
    max_interval: float = field(
        default=Factory(_default_max_interval, takes_self=True), converter=to_seconds, validator=lt(math.inf)
    )
    max_predicted_interval: float = field(default=39.0, converter=to_seconds, validator=ge(0))
    jitter: float = field(default=0.1, validator=[instance_of((int, float)), ge(0), lt(1)])
    not_found_grace: float = field(default=0.0, converter=to_seconds, validator=ge(0))
    max_retry_after: float = field(default=3600.0, converter=to_seconds, validator=ge(0))

    @max_interval.validator
    def _check_max_interval(self, _: "Attribute[float]", value: float) -> None:
        if value < self.min_interval:
            raise ValueError(f"'max_interval' must be >= min_interval, {self.min_interval}: {value}")

    def __attrs_post_init__(self) -> None:
        """Increase `max_predicted_interval` to at least `max_interval`."""
        if self.max_predicted_interval < self.max_interval:
            object.__setattr__(self, "max_predicted_interval", self.max_interval)

    @classmethod
    def fixed(cls, seconds: Seconds) -> Self:
        """Return a policy with exactly this interval, without jitter.

        >>> PollingPolicy.fixed(5).interval(Progress(), seed=0.9, sample=0.9)
        5.0
        """
        return cls(min_interval=seconds, max_interval=seconds, max_predicted_interval=seconds, jitter=0.0)

    def interval(self, progress: Progress, seed: float, sample: float, load: float = 1.0) -> float:
        """Return the seconds from the last poll to the next.

        Durations have no typical size, so without credible progress the interval grows with the square root of the
        age. With it, the next poll is due at the start of the finish window or, if the window is open, after an
        interval that suits its width; at most twice the interval that follows from the age alone. The predictions
        from siblings, `progress.ends`, are weighed against that, within the same bounds.
        `seed` (one per operation) and `sample` (one per poll), both in [0, 1), place it within the jitter. `load` is
        the demand over the budget, at least 1: `cost` and the upper bounds are multiplied by it.
        """
        remaining, cost = progress.remaining, self.cost * load
        longest = (self.max_interval if remaining is None else self.max_predicted_interval) * load
        by_age = _best_interval(progress.age, cost) + 2 * cost
        wanted = min(max(by_age, self.min_interval), self.max_interval * load)
        if remaining is not None:
            inside = _best_interval(remaining.high - remaining.low, cost) * _window_factor(progress.polls_in_window)
            wanted = min(_TRUST * by_age, longest, remaining.low + min(wanted, inside))
        factor = 1 + self.jitter * (2 * seed - 1) + self.jitter / 2 * (2 * sample - 1)
        wanted *= factor
        if progress.ends:
            wanted = min(interval_among(progress.ends, wanted, cost), longest * factor)
        return min(max(wanted, self.min_interval), longest)


def _best_interval(seconds: float, cost: float) -> float:
    """Return the best interval for an end that is uniformly distributed over that many seconds (Keller 1974)."""
    return math.sqrt(cost) * math.sqrt(2 * seconds)


def _window_factor(polls_in_window: int) -> float:
    return math.pow(_WINDOW_GROWTH, min(max(polls_in_window - 1, 0), _MAX_GROWTHS))


PollingPolicy.EAGER = PollingPolicy(cost=0.25, max_interval=5.0, max_predicted_interval=15.0)
PollingPolicy.FRUGAL = PollingPolicy(cost=4.0, max_interval=30.0, max_predicted_interval=90.0)


def jitter_seed(ref: OperationRef) -> float:
    """Return the seed of an operation's jitter, in [0, 1); the same in every process."""
    digest = blake2b(ref.path.encode(), digest_size=6).digest()
    return int.from_bytes(digest) / 256.0 ** len(digest)


def check_interval(policy: PollingPolicy, interval: object) -> float:
    """Return the interval that a policy returned; raise TypeError or ValueError if it is not valid."""
    if isinstance(interval, bool) or not isinstance(interval, int | float):
        raise TypeError(f"{type(policy).__name__}.interval must return seconds, not {type(interval).__name__}")
    if not 0 <= interval < math.inf:
        raise ValueError(f"{type(policy).__name__}.interval must return a finite number of seconds, not {interval}")
    return max(float(interval), min(policy.min_interval, _SHORTEST_INTERVAL))
