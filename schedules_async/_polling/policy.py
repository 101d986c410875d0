"""When to look again: what has been seen of one operation, and how a policy turns that into a pause.

One idea: a request has a price, in seconds of detection delay; look when the expected wait since the operation
ended unseen equals that price. Pure: readings of a clock and uniform samples come as arguments.
"""

import math
from hashlib import blake2b
from typing import ClassVar, Self

from attrs import Attribute, field, frozen
from attrs.validators import ge, gt, instance_of, lt

from schedules_async._clock import Seconds, to_seconds
from schedules_async._operations.ref import OperationRef
from schedules_async._polling.forecast import Progress

_TRUST = 2.0  # a prediction may stretch the pause that age alone would give by this factor
_IMPATIENCE = 1.1  # by which each look inside the finish window stretches the next pause
_MOST_STRETCHES = 99  # keeps the stretch finite


@frozen
class PollingPolicy:
    """How eagerly to look; intervals are in seconds, each a number or a `timedelta`.

    `cost` is the one knob that users need: the seconds of detection delay that one request is worth (0.5).
    `min_interval` (0.5) bounds every pause, `max_interval` (13) a pause without credible progress, and
    `max_predicted_interval` (39) any pause; it is never below `max_interval`. Where only `min_interval` is given
    and is above 13, `max_interval` follows it. `jitter` (0.1) spreads the pauses by this share.
    `not_found_grace` (0) is for how long a 404 means "not yet", `max_retry_after` (3600) what a wait sleeps
    through. A value out of its range is a ValueError.

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
    max_interval: float = field(converter=to_seconds, validator=lt(math.inf))
    max_predicted_interval: float = field(default=39.0, converter=to_seconds, validator=ge(0))
    jitter: float = field(default=0.1, validator=[instance_of((int, float)), ge(0), lt(1)])
    not_found_grace: float = field(default=0.0, converter=to_seconds, validator=ge(0))
    max_retry_after: float = field(default=3600.0, converter=to_seconds, validator=ge(0))

    @max_interval.default
    def _default_max_interval(self) -> float:
        return max(13.0, self.min_interval)

    @max_interval.validator
    def _check_max_interval(self, _: "Attribute[float]", value: float) -> None:
        if value < self.min_interval:
            raise ValueError(f"'max_interval' must be >= min_interval, {self.min_interval}: {value}")

    def __attrs_post_init__(self) -> None:
        """Lift `max_predicted_interval` to `max_interval`."""
        if self.max_predicted_interval < self.max_interval:
            object.__setattr__(self, "max_predicted_interval", self.max_interval)

    @classmethod
    def fixed(cls, seconds: Seconds) -> Self:
        """Pause for exactly that long, whatever is seen; no jitter.

        >>> PollingPolicy.fixed(5).interval(Progress(), seed=0.9, sample=0.9)
        5.0
        """
        return cls(min_interval=seconds, max_interval=seconds, max_predicted_interval=seconds, jitter=0.0)

    def interval(self, progress: Progress, seed: float, sample: float, load: float = 1.0) -> float:
        """Give the seconds from the last look to the next.

        Most durations have no typical size, so without credible progress the pause grows with the root of the age.
        With it, the next look comes as late before the finish window, or as deep in it, as trust in it allows.
        `seed` (fixed per operation) and `sample` (drawn per look), both in [0, 1), place it within the jitter.
        `load` says how many times more is wanted than the budget has: a look costs so much more, and the longest
        pauses grow alike.
        """
        remaining, cost = progress.remaining, self.cost * load
        longest = (self.max_interval if remaining is None else self.max_predicted_interval) * load
        by_age = _best_pause(progress.age, cost) + 2 * cost
        wanted = min(max(by_age, self.min_interval), self.max_interval * load)
        if remaining is not None:
            inside = _best_pause(remaining.high - remaining.low, cost) * _patience(progress.polls_in_window)
            wanted = min(_TRUST * by_age, longest, remaining.low + min(wanted, inside))
        factor = 1 + self.jitter * (2 * seed - 1) + self.jitter / 2 * (2 * sample - 1)
        return min(max(wanted * factor, self.min_interval), longest)


def _best_pause(seconds: float, cost: float) -> float:
    """Give the best pause for an end that is as likely anywhere in so many seconds (Keller 1974)."""
    return math.sqrt(cost) * math.sqrt(2 * seconds)


def _patience(polls_in_window: int) -> float:
    return math.pow(_IMPATIENCE, min(max(polls_in_window - 1, 0), _MOST_STRETCHES))


PollingPolicy.EAGER = PollingPolicy(cost=0.25, max_interval=5.0, max_predicted_interval=15.0)
PollingPolicy.FRUGAL = PollingPolicy(cost=4.0, max_interval=30.0, max_predicted_interval=90.0)


def jitter_seed(ref: OperationRef) -> float:
    """Give the operation's own place in the jitter, in [0, 1); the same in every process."""
    digest = blake2b(ref.path.encode(), digest_size=6).digest()
    return int.from_bytes(digest) / 256.0 ** len(digest)
