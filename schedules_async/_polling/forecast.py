"""What the polls of one operation say of its end: its age, and the range of the time remaining. Pure."""

import math
from datetime import datetime

from attrs import define, field, frozen

from schedules_async._operations.operation import Operation, OperationStatus

_LEAST_FRACTION = 0.005  # progress below this says nothing of the end
_RESOLUTION = 0.002  # of the fraction; what even fine progress is worth
_FALL = 0.03  # progress that fell by more has started again
_LOOKS_WITHOUT_CREDIT = 3  # how long such a fall is held against the progress
_NEWEST_SPEED = 0.5  # its weight in the recent speed
_NEWEST_MISS = 0.75  # its weight in the mean deviation, as in TCP's retransmission timer
_LONGEST_AGE = 30 * 86400.0  # seconds; an older timestamp is a default or a wrong clock
_LATENESS = 2.0  # seconds by which a Date may lag: cut to whole seconds, and on its way


@frozen
class TimeRemaining:
    """When an operation is expected to end: between `low` and `high` seconds from now.

    >>> TimeRemaining(5.0, 12.5).after(10)
    TimeRemaining(low=0.0, high=2.5)
    """

    low: float
    high: float

    def after(self, seconds: float) -> "TimeRemaining":
        """Count down, never below zero."""
        return TimeRemaining(max(self.low - seconds, 0.0), max(self.high - seconds, 0.0))


@define(eq=False, repr=False)
class _ServerClock:
    """The service's wall clock, as the answers' Date headers show it beside a monotonic clock.

    Each Date lags a little, so the one furthest ahead is nearest the truth.
    """

    _ahead: float | None = None

    def observe(self, now: float, date: datetime | None) -> None:
        """Take in the Date of the answer that came at `now`."""
        if date is None:
            return
        ahead = date.timestamp() - now
        if self._ahead is None or not 0 <= self._ahead - ahead <= _LATENESS:
            self._ahead = ahead

    def seconds_since(self, timestamp: datetime | None, now: float) -> float | None:
        """Give the age of a timestamp; None where it cannot be told or is absurd."""
        if timestamp is None or self._ahead is None:
            return None
        seconds = now + self._ahead - timestamp.timestamp()
        return seconds if 0 <= seconds <= _LONGEST_AGE else None


@define(eq=False, repr=False)
class _Start:
    """When an operation went from Queued to Started, as far as polls can tell.

    The service's `updatedAt` says so exactly. Where it is missing, or moves while the operation is Started, the
    middle between the last look that found it Queued and the first that found it Started has to do.
    """

    _queued_at: float | None = None
    _started_at: float | None = None
    _updated_at: datetime | None = None
    _latest: Operation | None = None
    _is_moving: bool = False

    def observe(self, operation: Operation, now: float) -> None:
        """Take in one look."""
        if operation.status is OperationStatus.QUEUED:
            self._queued_at, self._started_at = now, None
        elif operation.status is OperationStatus.STARTED:
            self._observe_started(operation, now)
        self._latest = operation

    def _observe_started(self, operation: Operation, now: float) -> None:
        latest = self._latest
        if self._started_at is None:
            self._started_at, self._updated_at = now, operation.updated_at
        elif latest is not None and latest.status is OperationStatus.STARTED:
            self._is_moving |= latest.updated_at != operation.updated_at

    def seconds_since(self, now: float, age: float, clock: _ServerClock) -> float:
        """Give how long the operation has been Started; its age at most, and where nothing better is known."""
        run = None if self._is_moving else clock.seconds_since(self._updated_at, now)
        if run is None and self._queued_at is not None and self._started_at is not None:
            run = now - (self._queued_at + self._started_at) / 2
        return age if run is None else min(run, age)


@define(eq=False, repr=False)
class _Forecast:
    """What the reported progress says of the end, and how far it can be believed.

    The speed is the middle (the geometric mean) of the whole run's and the recent one. The finish window lies
    around what remains at that speed, reaching to both sides as far as the grain of the progress and the mean
    deviation of the forecasts so far.
    """

    _fraction: float | None = None
    _grew_at: float = 0.0
    _recent_speed: float | None = None
    _jump: float = 0.0
    _has_repeated: bool = False
    _looks_without_credit: int = 0
    _whole_run: float | None = None
    _deviation: float = 0.0

    def observe(self, fraction: float, run: float, now: float) -> TimeRemaining | None:
        """Take in a look `run` seconds after the start; give the finish window, None without credible progress."""
        self._looks_without_credit = max(self._looks_without_credit - 1, 0)
        self._compare(fraction, now)
        if fraction < _LEAST_FRACTION or run <= 0 or self._looks_without_credit:
            return None
        average = fraction / run
        speed = math.sqrt(average * (self._recent_speed or average))
        self._deviate(run, (1 - fraction) / speed)
        grain = _RESOLUTION + (self._jump if self._has_repeated else 0.0)
        low, high = (1 - fraction - grain) / speed, (1 - fraction + grain) / speed
        return TimeRemaining(max(low - self._deviation, 0.0), high + self._deviation)

    def _compare(self, fraction: float, now: float) -> None:
        before, self._fraction = self._fraction, fraction
        if before is None:
            self._grew_at = now
        elif fraction == before:
            self._has_repeated = True
        else:
            self._jump = abs(fraction - before)
            self._change(fraction - before, now)

    def _change(self, gain: float, now: float) -> None:
        if gain < -_FALL:
            self._looks_without_credit = _LOOKS_WITHOUT_CREDIT
            self._whole_run = self._recent_speed = None
            self._grew_at = now
        elif gain > 0 and now > self._grew_at:
            speed = gain / (now - self._grew_at)
            self._recent_speed = _mix(self._recent_speed, speed, _NEWEST_SPEED)
            self._grew_at = now

    def _deviate(self, run: float, remaining: float) -> None:
        before, self._whole_run = self._whole_run, run + remaining
        if before is None:
            self._deviation = remaining / 2
        else:
            self._deviation = _mix(self._deviation, abs(self._whole_run - before), _NEWEST_MISS)


def _mix(old: float | None, new: float, weight: float) -> float:
    return new if old is None else old + weight * (new - old)


@define(eq=False, repr=False)
class Progress:
    """All that has been seen of one operation, whatever policy reads it.

    As of the last look: `age` is the seconds since the operation was created (the service's clock decides, the
    first look where that is silent), `remaining` the finish window (None without credible progress), and
    `polls_in_window` counts the polls since the window opened.
    """

    age: float = field(init=False, default=0.0)
    remaining: TimeRemaining | None = field(init=False, default=None)
    polls_in_window: int = field(init=False, default=0)
    _first_look: float | None = field(init=False, default=None)
    _last_look: float = field(init=False, default=0.0)
    _clock: _ServerClock = field(init=False, factory=_ServerClock)
    _start: _Start = field(init=False, factory=_Start)
    _forecast: _Forecast = field(init=False, factory=_Forecast)

    def observe(self, operation: Operation, now: float, date: datetime | None) -> None:
        """Take in one look.

        `now` is a monotonic clock's reading in seconds, `date` the answer's Date. After a 304 `operation` is
        what was held.
        """
        self._clock.observe(now, date)
        self._start.observe(operation, now)
        if self._first_look is None:
            self._first_look = now
        self.age = max(now - self._first_look, self._clock.seconds_since(operation.created_at, now) or 0.0)
        self.remaining = self._foresee(operation, now)
        self._last_look = now
        is_open = self.remaining is not None and self.remaining.low <= 0
        self.polls_in_window = self.polls_in_window + 1 if is_open else 0

    def _foresee(self, operation: Operation, now: float) -> TimeRemaining | None:
        match operation.status:
            case OperationStatus.STARTED:
                run = self._start.seconds_since(now, self.age, self._clock)
                return self._forecast.observe(operation.fraction, run, now)
            case OperationStatus.UNKNOWN:
                return self.time_remaining(now)
            case OperationStatus.QUEUED:
                self._forecast = _Forecast()
                return None
        return TimeRemaining(0.0, 0.0)

    def time_remaining(self, now: float) -> TimeRemaining | None:
        """Give the finish window, counted down since the last look; None without credible progress."""
        return None if self.remaining is None else self.remaining.after(now - self._last_look)
