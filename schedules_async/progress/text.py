"""Words for operations, safe for any terminal: what a service sends may hold control characters."""

import math

from schedules_async import (
    AuthenticationError,
    MalformedResponseError,
    NotFoundError,
    Operation,
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

_UNITS = ((5400.0, 60.0, "min"), (129600.0, 3600.0, "h"), (math.inf, 86400.0, "d"))  # up to so many seconds
_LONGEST_IN_SECONDS = 90.0
_MEANINGS: tuple[tuple[type[SchedulesError], str], ...] = (
    (AuthenticationError, "the token was refused"),
    (PermissionDeniedError, "the token does not allow this"),
    (NotFoundError, "there is no such operation"),
    (RateLimitedError, "the service refuses requests for too long"),
    (ServerError, "the service is in trouble"),
    (ResponseError, "the service answered with an error"),
    (TransportError, "no complete answer came"),
    (MalformedResponseError, "the answer breaks the contract"),
    (SchedulesError, "the wait ended"),
)


def printable(text: str) -> str:
    """Give text as one line without control characters."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())


def spell_percent(fraction: float) -> str:
    """Write a fraction as percent, rounded down: 99.9 is not 100."""
    return f"{math.floor(fraction * 100 + 1e-9)} %"


def spell_remaining(remaining: TimeRemaining | None) -> str:
    """Write a time remaining as a range, in the unit that fits its end; nothing where it is not known."""
    if remaining is None:
        return ""
    size, unit = 1.0, "s"
    if remaining.high > _LONGEST_IN_SECONDS:
        size, unit = next((size, unit) for limit, size, unit in _UNITS if remaining.high <= limit)
    low, high = math.floor(remaining.low / size), max(math.ceil(remaining.high / size), 1)
    return f"{high} {unit}" if low == high else f"{low}-{high} {unit}"


def spell_failure(operation: Operation) -> str:
    """Give the reason of a failed operation."""
    return printable(operation.failure_description or "") or "no reason given"


def explain(error: Exception) -> str:
    """Say in one sentence what an error means, and for which operation."""
    if isinstance(error, SchedulesError) and error.ref is not None:
        colon = "" if isinstance(error, WaitError) else ":"
        return printable(f"{error.ref}{colon} {spell_loss(error)}")
    return spell_loss(error)


def spell_loss(error: Exception) -> str:
    """Say what an error means, without the operation that it is about."""
    if isinstance(error, WaitError):
        return printable(str(error).removeprefix(f"{error.ref} "))
    if not isinstance(error, SchedulesError) or (isinstance(error, AuthenticationError) and error.status is None):
        return printable(str(error))  # no answer: that no token could be had is what it says itself
    meaning = next(words for kind, words in _MEANINGS if isinstance(error, kind))
    correlation = isinstance(error, ResponseError) and error.correlation_id
    trace = f", correlation id {correlation}" if correlation else ""
    return printable(f"{meaning}: {error}{trace}")


def describe(operation: Operation, remaining: TimeRemaining | None = None) -> str:
    """Say how an operation stands, in one line."""
    if operation.is_failed:
        return f"Failed: {spell_failure(operation)}"
    parts = [printable(operation.raw_status)]
    if not operation.is_done and operation.status is not OperationStatus.QUEUED:
        parts.append(spell_percent(operation.fraction))
    if not operation.is_done and operation.sub_status is not None:
        parts.append(printable(operation.sub_status))
    if not operation.is_done and remaining is not None:
        parts.append(f"{spell_remaining(remaining)} left")
    return ", ".join(part for part in parts if part)


def spell_traffic(stats: SessionStats) -> str:
    """Say what a session has sent, and how much of it a 304 made cheap."""
    requests = f"{stats.requests} request{'' if stats.requests == 1 else 's'}"
    refusals = f", {stats.throttled} refused (429)" if stats.throttled else ""
    return f"{requests}, {stats.not_modified} saved by 304{refusals}"
