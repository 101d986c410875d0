"""The forecast of an operation's end from its polls: its age, and the range of the time remaining. Pure."""

import math
from collections.abc import Sequence
from datetime import datetime

from attrs import define, field, frozen

from schedules_async._operations.operation import Operation, OperationStatus
from schedules_async._polling.experience import FALL, MIN_FRACTION, Experience, Promises, find_range

_RESOLUTION = 0.002  # of the fraction; the smallest grain, even if the progress is finer
_POLLS_WITHOUT_CREDIT = 3  # after a larger fall than FALL
_NEWEST_SPEED = 0.5  # weight of the newest speed in the recent speed
_NEWEST_DEVIATION = 0.75  # weight of the newest deviation in the mean deviation
_OUTLIVING = 1 / 3  # of the run so far, a vote for the end of an operation that outlives its siblings
_MAX_AGE = 30 * 86400.0  # seconds; an older timestamp means an unset date or a wrong clock
_MAX_LAG = 2.0  # seconds by which a Date may lag: it is truncated to whole seconds and takes time to arrive


@frozen
class TimeRemaining:
    """The range in which an operation is expected to end: between `low` and `high` seconds from now.

    >>> TimeRemaining(5.0, 12.5).after(10)
    TimeRemaining(low=0.0, high=2.5)
    """

    low: float
    high: float

    def after(self, seconds: float) -> "TimeRemaining":
        """Return the range some seconds later, never below zero."""
        return TimeRemaining(max(self.low - seconds, 0.0), max(self.high - seconds, 0.0))


@define(eq=False, repr=False)
class _ServerClock:
    """The difference between the service's wall clock, as its Date headers show it, and a monotonic clock.

    Each Date lags a little, so the largest difference is the most accurate.
    """

    _ahead: float | None = None

    def observe(self, now: float, date: datetime | None) -> None:
        """Update the difference from the Date of an answer that was received at `now`."""
        if date is None:
            return
        ahead = date.timestamp() - now
        if self._ahead is None or not 0 <= self._ahead - ahead <= _MAX_LAG:
            self._ahead = ahead

    def seconds_since(self, timestamp: datetime | None, now: float) -> float | None:
        """Return the age of a timestamp, None if it is unknown, negative or above 30 days."""
        if timestamp is None or self._ahead is None:
            return None
        seconds = now + self._ahead - timestamp.timestamp()
        return seconds if 0 <= seconds <= _MAX_AGE else None


@define(eq=False, repr=False)
class _Start:
    """The time at which an operation went from Queued to Started.

    It is the service's `updatedAt`. If that is missing, or changes while the operation is Started, it is the middle
    between the last poll that found the operation Queued and the first that found it Started.
    """

    _queued_at: float | None = None
    _started_at: float | None = None
    _updated_at: datetime | None = None
    _latest: Operation | None = None
    _is_moving: bool = False

    def observe(self, operation: Operation, now: float) -> None:
        """Update the time from the snapshot of a poll."""
        latest, self._latest = self._latest, operation
        if operation.status is OperationStatus.QUEUED:
            self._queued_at, self._started_at = now, None
        elif operation.status is OperationStatus.STARTED and self._started_at is None:
            self._started_at, self._updated_at = now, operation.updated_at
        elif latest is not None and operation.status is latest.status is OperationStatus.STARTED:
            self._is_moving |= latest.updated_at != operation.updated_at

    def seconds_since(self, now: float, age: float, clock: _ServerClock) -> float:
        """Return the seconds since the start, at most the age, which is also the default."""
        run = None if self._is_moving else clock.seconds_since(self._updated_at, now)
        if run is None and self._queued_at is not None and self._started_at is not None:
            run = now - (self._queued_at + self._started_at) / 2
        return age if run is None else min(run, age)


@define(eq=False, repr=False)
class _Forecast:
    """The finish window, in which an operation is expected to end, from the progress that it reports.

    The speed is the geometric mean of the average speed and the recent one. The window is the time that remains at
    that speed, plus and minus the grain (resolution) of the progress and the mean deviation of earlier forecasts.
    """

    _fraction: float | None = None
    _grew_at: float = 0.0
    _recent_speed: float | None = None
    _jump: float = 0.0
    _has_repeated: bool = False
    _polls_without_credit: int = 0
    _whole_run: float | None = None
    _deviation: float = 0.0

    def observe(self, fraction: float, run: float, now: float) -> TimeRemaining | None:
        """Return the finish window after a poll `run` seconds after the start; None without credible progress."""
        self._polls_without_credit = max(self._polls_without_credit - 1, 0)
        self._compare(fraction, now)
        if fraction < MIN_FRACTION or run <= 0 or self._polls_without_credit:
            return None
        average = fraction / run
        speed = math.sqrt(average * (self._recent_speed or average))
        self._deviate(run, (1 - fraction) / speed)
        grain = _RESOLUTION + (self._jump if self._has_repeated else 0.0)
        low, high = (1 - fraction - grain) / speed, (1 - fraction + grain) / speed
        return TimeRemaining(max(low - self._deviation, 0.0), high + self._deviation)

    def _compare(self, fraction: float, now: float) -> None:
        if self._fraction is None:
            self._fraction, self._grew_at = fraction, now
            return
        gain, self._fraction = fraction - self._fraction, fraction
        self._has_repeated |= gain == 0
        self._jump = abs(gain) or self._jump
        if gain < -FALL:
            self._polls_without_credit = _POLLS_WITHOUT_CREDIT
            self._whole_run = self._recent_speed = None
            self._grew_at = now
        elif gain > 0 and now > self._grew_at:
            self._recent_speed = _mix(self._recent_speed, gain / (now - self._grew_at), _NEWEST_SPEED)
            self._grew_at = now

    def _deviate(self, run: float, remaining: float) -> None:
        before, self._whole_run = self._whole_run, run + remaining
        if before is None:
            self._deviation = remaining / 2
        else:
            self._deviation = _mix(self._deviation, abs(self._whole_run - before), _NEWEST_DEVIATION)


def _mix(old: float | None, new: float, weight: float) -> float:
    return new if old is None else old + weight * (new - old)


@define(eq=False, repr=False)
class Progress:
    """The progress of one operation as of its last poll, from which every polling policy decides.

    `age` is the time in seconds since the operation was created, by the service's clock, or since the first poll if
    that is unknown. `remaining` is the finish window, None without credible progress. `polls_in_window` is the number
    of polls since the window opened. `ends` are the predictions from siblings (ended operations of the session), in
    seconds after the last poll and in ascending order; empty without siblings.
    """

    age: float = field(init=False, default=0.0)
    remaining: TimeRemaining | None = field(init=False, default=None)
    polls_in_window: int = field(init=False, default=0)
    ends: Sequence[float] = field(init=False, default=())
    _run: float = field(init=False, default=0.0)  # seconds from the start to the last poll
    _range: TimeRemaining | None = field(init=False, default=None)
    _promises: Promises | None = field(init=False, default=None)  # None before the first
    _has_unknown_start: bool = field(init=False, default=False)  # it ran before the first poll, for an unknown time
    _first_poll_at: float | None = field(init=False, default=None)
    _last_poll_at: float = field(init=False, default=0.0)
    _clock: _ServerClock = field(init=False, factory=_ServerClock)
    _start: _Start = field(init=False, factory=_Start)
    _forecast: _Forecast = field(init=False, factory=_Forecast)

    def observe(self, operation: Operation, now: float, date: datetime | None) -> None:
        """Update the progress from a poll.

        `now` is a monotonic clock's reading in seconds, `date` the answer's Date. After a 304 `operation` is the
        stored snapshot.
        """
        self._clock.observe(now, date)
        self._start.observe(operation, now)
        age = self._clock.seconds_since(operation.created_at, now)
        if self._first_poll_at is None:
            self._first_poll_at = now
            self._has_unknown_start = age is None and operation.fraction > 0
        self.age = max(now - self._first_poll_at, age or 0.0)
        self._run = self._start.seconds_since(now, self.age, self._clock)
        self.remaining = self._range = self._foresee(operation, now)
        self._last_poll_at = now
        is_open = self.remaining is not None and self.remaining.low <= 0
        self.polls_in_window = self.polls_in_window + 1 if is_open else 0

    def _foresee(self, operation: Operation, now: float) -> TimeRemaining | None:
        match operation.status:
            case OperationStatus.STARTED:
                if self._promises is None and operation.fraction > 0:
                    self._promises = Promises()
                if self._promises is not None:
                    self._promises.observe(operation.fraction, self._run)
                return self._forecast.observe(operation.fraction, self._run, now)
            case OperationStatus.UNKNOWN:
                return None if self.remaining is None else self.remaining.after(now - self._last_poll_at)
            case OperationStatus.QUEUED:
                self._forecast, self._promises = _Forecast(), None
                return None
        return TimeRemaining(0.0, 0.0)

    def consult(self, experience: Experience) -> None:
        """Set `ends`, and calibrate the expected range, from what the session has learned of siblings."""
        if self._has_unknown_start or not experience.count:
            return
        promises, remaining = self._promises, self.remaining
        ends = experience.ends(promises, self.age, self._run)
        self.ends = () if promises is not None and promises.is_broken else ends
        if promises is not None and remaining is not None:
            earlier = experience.ends(promises, self.age, self._run, earlier=True)
            votes = [*ends, *earlier, self._run * _OUTLIVING]
            low, high = find_range(votes, remaining.low, remaining.high, promises.newest)
            self._range = TimeRemaining(low, high)

    def teach(self, experience: Experience, operation: Operation, now: float, date: datetime | None) -> None:
        """Add the operation, which the poll at `now` found ended, to the experience of the session.

        It ended at its `updatedAt` or, if that is unknown, halfway between the last two polls.
        """
        self._clock.observe(now, date)
        elapsed, late = now - self._last_poll_at, self._clock.seconds_since(operation.updated_at, now + _MAX_LAG)
        if late is None or late > elapsed + 2 * _MAX_LAG:
            until_end = elapsed / 2
        else:
            until_end = min(max(elapsed + _MAX_LAG - late, 0.0), elapsed)
        if not self._has_unknown_start:
            experience.learn(self._promises, self.age + until_end, self._run + until_end)

    def time_remaining(self, now: float) -> TimeRemaining | None:
        """Return the range in which the operation is expected to end, as of `now`; None without credible progress."""
        return None if self._range is None else self._range.after(now - self._last_poll_at)
