"""Text for terminals: operations, errors, times and request counts, each as one line without control characters."""

import math
from collections.abc import Callable, Mapping

from attrs import frozen

from schedules_async import (
    AuthenticationError,
    MalformedResponseError,
    NotFoundError,
    Operation,
    OperationRef,
    OperationStatus,
    PermissionDeniedError,
    RateLimitedError,
    ResponseError,
    SchedulesError,
    ServerError,
    SessionStats,
    TimeRemaining,
    TransportError,
    WaitError,
)

# Each unit: the most seconds for which it is used, its length in seconds, and its name.
_UNITS = ((90.0, 1.0, "s"), (5400.0, 60.0, "min"), (129600.0, 3600.0, "h"), (math.inf, 86400.0, "d"))
_PREFIXES: tuple[tuple[type[SchedulesError], str], ...] = (
    (AuthenticationError, "the token was rejected: "),
    (PermissionDeniedError, "the token does not grant access: "),
    (NotFoundError, "operation not found: "),
    (RateLimitedError, "throttled for too long: "),
    (ServerError, "server error: "),
    (ResponseError, "the service returned an error: "),
    (TransportError, ""),
    (MalformedResponseError, "invalid response: "),
    (SchedulesError, ""),
)


def printable(text: str) -> str:
    """Return text as one line, without control characters."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())


def encodable(text: str, encoding: str) -> str:
    """Return text with `?` in place of each character that the encoding lacks."""
    return text.encode(encoding, "replace").decode(encoding)


@frozen
class Charset:
    """The characters that a terminal can display in its encoding; `measure` returns the columns that a text takes."""

    encoding: str
    measure: Callable[[str], int]

    @property
    def marks(self) -> Mapping[str, str]:
        """The mark for each status of an operation and for the total, all of equal width."""
        running, succeeded, lost = (" ", "✓", "✗") if self._is_unicode else ("  ", "ok", "x ")
        return {"running": running, "succeeded": succeeded, "lost": lost, "total": running}

    @property
    def _is_unicode(self) -> bool:
        return self.encoding.lower().startswith("utf")

    @property
    def _ellipsis(self) -> str:
        return "…" if self._is_unicode else "..."

    def shorten(self, text: str, width: int) -> str:
        """Return text, or as much of its beginning as fits `width` columns, followed by an ellipsis."""
        text = encodable(text, self.encoding)
        if self.measure(text) <= width:
            return text
        return self._prefix(self._prefix(text, width - len(self._ellipsis)) + self._ellipsis, width)

    def shorten_middle(self, text: str, width: int) -> str:
        """Return text, or its beginning and end with an ellipsis between them, so that ids remain distinguishable."""
        text = encodable(text, self.encoding)
        if self.measure(text) <= width:
            return text
        kept = max(width - len(self._ellipsis), 0)
        end = self._prefix(text[::-1], kept // 2)[::-1]
        return self._prefix(text, kept - kept // 2) + self._ellipsis + end

    def _prefix(self, text: str, width: int) -> str:
        prefix = text[: max(width, 0)]
        while self.measure(prefix) > max(width, 0):
            prefix = prefix[:-1]
        return prefix


def format_percent(fraction: float) -> str:
    """Return a fraction as percent, rounded down: 99.9 is not 100."""
    return f"{math.floor(fraction * 100 + 1e-9)} %"


def format_remaining(remaining: TimeRemaining) -> str:
    """Return a time remaining as a range, such as 16-90 s or 0.2-1.6 min.

    Bounds are rounded outward, by at most a tenth of the upper bound, or one second.
    """
    size, unit = next((size, unit) for limit, size, unit in _UNITS if remaining.high <= limit)
    low = _round(remaining.low / size, unit, math.floor)
    high = _round(max(remaining.high / size, 1), unit, math.ceil)
    return f"{high} {unit}" if low == high else f"{low}-{high} {unit}"


def format_time_left(remaining: TimeRemaining | None) -> str:
    """Return a time remaining followed by "left"; empty if it is None."""
    return "" if remaining is None else f"{format_remaining(remaining)} left"


def _round(value: float, unit: str, rounding: Callable[[float], int]) -> str:
    """Return a whole number, or one with a decimal for less than 10 minutes, hours or days."""
    if unit == "s" or value >= 10:
        return str(rounding(round(value, 6)))
    return f"{rounding(round(value * 10, 6)) / 10:g}"


def failure_reason(operation: Operation) -> str:
    """Return why an operation failed, as the service describes it."""
    return printable(operation.failure_description or "") or "no reason given"


def describe_error(error: Exception, names: Mapping[OperationRef, str] = {}) -> str:
    """Return what an error means, preceded by the name or the ids of the operation that it concerns, if any.

    An AuthenticationError concerns all operations.
    """
    ref = error.ref if isinstance(error, SchedulesError) and not isinstance(error, AuthenticationError) else None
    if ref is None:
        return error_reason(error)
    colon = "" if isinstance(error, WaitError) else ":"
    return f"{printable(names.get(ref) or str(ref))}{colon} {error_reason(error)}"


def error_reason(error: Exception) -> str:
    """Return what an error means, without the operation that it concerns."""
    if isinstance(error, WaitError):
        return printable(str(error).removeprefix(f"{error.ref} "))
    if not isinstance(error, SchedulesError) or (isinstance(error, AuthenticationError) and error.status is None):
        return printable(str(error))  # without a status, the message says that no token could be obtained
    prefix = next(text for kind, text in _PREFIXES if isinstance(error, kind))
    correlation = isinstance(error, ResponseError) and error.correlation_id
    suffix = f", correlation id {correlation}" if correlation else ""
    return printable(f"{prefix}{error}{suffix}")


def describe_operation(operation: Operation, remaining: TimeRemaining | None = None) -> str:
    """Return the state of an operation: its status and, while it runs, percent, sub-status and time remaining."""
    if operation.is_failed:
        return f"{printable(operation.raw_status)}: {failure_reason(operation)}"
    parts = [printable(operation.raw_status)]
    if not operation.is_done and operation.status is not OperationStatus.QUEUED:
        parts.append(format_percent(operation.fraction))
    if not operation.is_done and operation.sub_status is not None:
        parts.append(printable(operation.sub_status))
    if not operation.is_done and remaining is not None:
        parts.append(format_time_left(remaining))
    return ", ".join(part for part in parts if part)


def format_stats(stats: SessionStats) -> str:
    """Return how many requests a session has sent, and how many of them were answered 304 or 429.

    After a 429 also return for how many seconds no request is sent.
    """
    requests = f"{stats.requests} request{'' if stats.requests == 1 else 's'}"
    throttled = f", {stats.throttled} answered 429" if stats.throttled else ""
    pause = f"; throttled, {math.ceil(stats.closed_for)} s left" if stats.closed_for else ""
    return f"{requests}, {stats.not_modified} saved by 304{throttled}{pause}"
