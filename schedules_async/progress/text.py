"""Text for terminals: operations, errors, times and request counts, each as one line without control characters."""

import math
from collections.abc import Callable, Mapping

from schedules_async import Operation, OperationRef, OperationStatus, SessionStats, TimeRemaining, errors

# Each unit: the most seconds for which it is used, its length in seconds, and its name.
_UNITS = ((90.0, 1.0, "s"), (5400.0, 60.0, "min"), (129600.0, 3600.0, "h"), (math.inf, 86400.0, "d"))
_PREFIXES: dict[type[Exception], str] = {
    errors.AuthenticationError: "the token was rejected: ",
    errors.PermissionDeniedError: "the token does not grant access: ",
    errors.NotFoundError: "operation not found: ",
    errors.RateLimitedError: "throttled for too long: ",
    errors.ServerError: "server error: ",
    errors.ResponseError: "the service returned an error: ",
    errors.MalformedResponseError: "invalid response: ",
}


def printable(text: str) -> str:
    """Return text as one line, without control characters."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())


def format_percent(fraction: float) -> str:
    """Return a fraction as percent, rounded down: 99.9 is not 100."""
    return f"{math.floor(fraction * 100 + 1e-9)} %"


def format_time_left(remaining: TimeRemaining | None) -> str:
    """Return a time remaining as a range, such as 16-90 s left or 0.2-1.6 min left; empty if it is None.

    Bounds are rounded outward, by at most a tenth of the upper bound, or one second.
    """
    if remaining is None:
        return ""
    size, unit = next((size, unit) for limit, size, unit in _UNITS if remaining.high <= limit)
    low = _round(remaining.low / size, unit, math.floor)
    high = _round(max(remaining.high / size, 1), unit, math.ceil)
    return f"{high} {unit} left" if low == high else f"{low}-{high} {unit} left"


def _round(value: float, unit: str, rounding: Callable[[float], int]) -> str:
    """Return a whole number, or one with a decimal for less than 10 minutes, hours or days."""
    scale = 1 if unit == "s" or value >= 10 else 10
    return f"{rounding(round(value * scale, 6)) / scale:g}"


def describe_error(error: Exception, names: Mapping[OperationRef, str] = {}) -> str:
    """Return what an error means, preceded by the name or the ids of the operation that it concerns, if any.

    An AuthenticationError concerns all operations.
    """
    if not isinstance(error, errors.SchedulesError) or isinstance(error, errors.AuthenticationError) or not error.ref:
        return error_reason(error)
    colon = "" if isinstance(error, errors.WaitError) else ":"
    return f"{printable(names.get(error.ref) or str(error.ref))}{colon} {error_reason(error)}"


def error_reason(error: Exception | Operation) -> str:
    """Return what an error means, or why an operation failed, without the operation that it concerns."""
    if isinstance(error, Operation):
        return printable(error.failure_description or "") or "no reason given"
    text, prefix = str(error), next((_PREFIXES[kind] for kind in _PREFIXES if isinstance(error, kind)), "")
    if isinstance(error, errors.WaitError):
        text = text.removeprefix(f"{error.ref} ")
    if isinstance(error, errors.AuthenticationError) and error.status is None:
        prefix = ""  # the message says that no token could be obtained
    correlation = isinstance(error, errors.ResponseError) and error.correlation_id
    return printable(f"{prefix}{text}{f', correlation id {correlation}' if correlation else ''}")


def describe_operation(operation: Operation, remaining: TimeRemaining | None = None) -> str:
    """Return the state of an operation: its status and, while it runs, percent, sub-status and time remaining."""
    if operation.is_failed:
        return f"{printable(operation.raw_status)}: {error_reason(operation)}"
    parts = [operation.raw_status]
    if not operation.is_done:
        percent = "" if operation.status is OperationStatus.QUEUED else format_percent(operation.fraction)
        parts += [percent, operation.sub_status or "", format_time_left(remaining)]
    return ", ".join(text for part in parts if (text := printable(part)))


def format_stats(stats: SessionStats) -> str:
    """Return how many requests a session has sent, and how many of them were answered 304 or 429.

    After a 429 also return for how many seconds no request is sent.
    """
    requests = f"{stats.requests} request{'' if stats.requests == 1 else 's'}"
    throttled = f", {stats.throttled} answered 429" if stats.throttled else ""
    pause = f"; throttled, {math.ceil(stats.closed_for)} s left" if stats.closed_for else ""
    return f"{requests}, {stats.not_modified} saved by 304{throttled}{pause}"
