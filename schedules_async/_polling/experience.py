"""Predictions for a running operation from its siblings: the ended operations of the same session. Pure.

A run is the time from Started to the end. Progress promises a run: the time so far divided by the fraction. Of an
ended operation the duration is kept and, for each promise, the ratio of its run to the promised one. Ratios of similar
fractions form a row. Each of the newest fifty ratios of a row, multiplied by the newest promise of a running operation,
is a vote for when it ends; without progress, each of the newest fifty durations is a vote. An operation keeps its last
ratio of a row, which fits fractions late in that row and early in the next: the range is that of the votes of both.
"""

import math
from array import array
from collections.abc import Sequence

from attrs import define, field

_KEPT = 50  # newest values kept in each row
_ROWS = 12  # of ratios, by the odds of the fraction, since progress often speeds up or slows down late in a run
_LAST_POSITION = _ROWS - 1.001  # of a fraction, early in the last row, which has no end
_DURATIONS = _ROWS  # the row of the durations
_ROW_OF_EVEN_ODDS = 5  # of the fraction 0.5
MIN_FRACTION = 0.005  # less progress predicts nothing
FALL = 0.03  # a larger fall of the fraction means that the operation started again
_MAX_SPREAD = 16.0  # largest ratio of the quartiles of durations that are typical of the session
_OWN_VOTES = 2  # votes for the interval of the policy alone
_LEFT_OUT = 14  # of this many votes, one is left out at either end of the range
_GRAIN = 0.002  # of the promised run, added at either end


@define(eq=False, repr=False)
class Promises:
    """The runs that the progress of one operation has promised, in seconds: the newest one of each row."""

    row: int = field(init=False, default=-1)  # of the newest promise, -1 before the first
    earlier_row: int = field(init=False, default=-1)  # of half a row before: `row` or the one before it
    is_broken: bool = field(init=False, default=False)  # the progress has fallen, so its promises do not count
    _fraction: float = field(init=False, default=0.0)  # at the last poll
    runs: "array[float]" = field(init=False, factory=lambda: array("f", bytes(4 * _ROWS)))  # by row, 0 for none

    def observe(self, fraction: float, run: float) -> None:
        """Update the promises from a poll `run` seconds after the start."""
        gain, self._fraction = fraction - self._fraction, fraction
        if gain < -FALL:
            self.is_broken = True
        elif gain > 0 and fraction >= MIN_FRACTION and run > 0:
            position = math.log2(fraction / (1 - fraction)) + _ROW_OF_EVEN_ODDS if fraction < 1 else math.inf
            position = min(max(position, 0.0), _LAST_POSITION)
            self.row, self.earlier_row = round(position), int(position)
            self.runs[self.row] = run / fraction

    @property
    def newest(self) -> float:
        """The newest promised run; 0 before the first."""
        return self.runs[self.row] if self.row >= 0 else 0.0


@define(eq=False, repr=False)
class Experience:
    """What a session has learned from ended operations: rows of the newest ratios, and one of durations."""

    _values: "array[float]" = field(init=False, factory=lambda: array("f", bytes(4 * _KEPT * (_ROWS + 1))))
    _counts: "array[int]" = field(init=False, factory=lambda: array("L", bytes(array("L").itemsize * (_ROWS + 1))))

    @property
    def count(self) -> int:
        """The number of operations learned from."""
        return self._counts[_DURATIONS]

    def learn(self, promises: Promises | None, duration: float, run: float) -> None:
        """Learn from an operation that ended `duration` seconds after its creation and `run` after its start.

        If its progress has fallen, only the duration counts.
        """
        promised = () if promises is None or promises.is_broken else promises.runs
        ratios = {row: run / whole for row, whole in enumerate(promised) if whole}
        for row, value in {**ratios, _DURATIONS: duration}.items():
            self._values[row * _KEPT + self._counts[row] % _KEPT] = value
            self._counts[row] += 1

    def _row(self, row: int) -> "array[float]":
        return self._values[row * _KEPT : row * _KEPT + min(self._counts[row], _KEPT)]

    def ends(self, promises: Promises | None, age: float, run: float, *, earlier: bool = False) -> list[float]:
        """Return the predicted ends of a running operation, in seconds from now, in ascending order.

        They are those of the row of the newest promise, or with `earlier` of the row of half a row before.
        """
        if promises is None or promises.row < 0 or promises.is_broken:
            row, promised, elapsed = _DURATIONS, 1.0, age
        else:
            row, promised, elapsed = promises.earlier_row if earlier else promises.row, promises.newest, run
        values = sorted(self._row(row))
        count = len(values)
        if row == _DURATIONS and count and values[3 * count // 4] > _MAX_SPREAD * values[count // 4]:
            return []
        return [end for value in values if (end := value * promised - elapsed) > 0]


def interval_among(ends: Sequence[float], interval: float, cost: float) -> float:
    """Return the interval for which the expected detection delay is `cost`, if all `ends` are equally likely.

    The policy's own `interval` counts as two more ends, at `interval - cost`; without `ends` it is returned unchanged.
    The result is earlier by up to half of `cost`, but not before the last end that it is meant to detect.
    """
    if not ends:
        return interval
    votes = sorted((*ends, *_OWN_VOTES * (interval - cost,)))
    total, best, latest = cost * len(votes), math.inf, 0.0
    for count, end in enumerate(votes, 1):
        if end >= best:
            break
        total, latest = total + end, end
        best = total / count
    return min(max(best - cost / 2, latest), max(votes[-1], interval))


def find_range(ends: Sequence[float], low: float, high: float, promised: float) -> tuple[float, float]:
    """Return the range of six in seven of the ends; `low` and `high` of the finish window count as two."""
    votes = sorted((*ends, low, high))
    left_out = len(votes) // _LEFT_OUT
    grain = _GRAIN * promised if left_out else 0.0
    return max(votes[left_out] - grain, 0.0), votes[-1 - left_out] + grain
