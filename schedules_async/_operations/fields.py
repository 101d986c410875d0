"""Fields of an operation that are text: entity tags and timestamps. Pure."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone

_TAG = re.compile(r'(?:W/)?"[\x20\x21\x23-\x7e]*"')
_TIMESTAMP = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):?(\d\d))?", re.ASCII
)


def parse_tag(fields: Sequence[str]) -> str | None:
    """Return the tag of the ETag header; None unless there is exactly one field with one well-formed tag.

    The tag keeps its quotes and `W/`, to be sent back byte for byte (RFC 9110 section 8.8.3).
    """
    if len(fields) != 1 or not _TAG.fullmatch(fields[0]):
        return None
    return fields[0]


def is_same_tag(one: str, other: str) -> bool:
    """Return True if two tags match weakly, as in If-None-Match (RFC 9110 section 8.8.3.2)."""
    return one.removeprefix("W/") == other.removeprefix("W/")


def parse_timestamp(text: str) -> datetime | None:
    """Return a timestamp of the service as an aware datetime, None if it is unreadable.

    No offset means UTC; any number of fraction digits is cut to microseconds. Years outside 1 to 9999, in UTC too,
    are unreadable.
    """
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = map(int, match.groups()[:6])
    fraction, sign, hours, minutes = match.groups()[6:]
    microsecond = int((fraction or "")[:6].ljust(6, "0"))
    try:
        zone = _zone(sign, int(hours or 0), int(minutes or 0))
        moment = datetime(year, month, day, hour, minute, second, microsecond, zone)
        moment.astimezone(UTC)
        return moment
    except (ValueError, OverflowError):  # a field out of its range, or the year in UTC
        return None


def _zone(sign: str | None, hours: int, minutes: int) -> timezone:
    if hours > 23 or minutes > 59:
        raise ValueError("an offset out of its range")
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(-offset if sign == "-" else offset) if offset else UTC
