"""Header values and timestamps: text in, value or None out. Pure; the RFC section stands with each rule."""

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache

_TAG = re.compile(r'(?:W/)?"[\x20\x21\x23-\x7e]*"')
_TIMESTAMP = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):?(\d\d))?", re.ASCII
)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH = "(?P<month>" + "|".join(_MONTHS) + ")"
_TIME = r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
_HTTP_DATES = tuple(
    re.compile(form, re.ASCII)
    for form in (
        rf"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (?P<day>\d\d) {_MONTH} (?P<year>\d{{4}}) {_TIME} GMT",
        rf"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, (?P<day>\d\d)-{_MONTH}-(?P<year>\d\d) {_TIME} GMT",
        rf"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) {_MONTH} (?P<day>[ \d]\d) {_TIME} (?P<year>\d{{4}})",
    )
)
_LONGEST_PAUSE = 1e9  # seconds; more is no pause anybody means, and keeps sums of pauses finite


def parse_tag(fields: Sequence[str]) -> str | None:
    """Read the ETag header; None unless there is exactly one field with one well-formed tag.

    The tag keeps its quotes and `W/`, to be sent back byte for byte (RFC 9110 section 8.8.3).
    """
    if len(fields) != 1 or not _TAG.fullmatch(fields[0]):
        return None
    return fields[0]


def is_same_tag(one: str, other: str) -> bool:
    """Compare two tags weakly, as If-None-Match does (RFC 9110 section 8.8.3.2)."""
    return one.removeprefix("W/") == other.removeprefix("W/")


def parse_timestamp(text: str) -> datetime | None:
    """Read a timestamp of the service, None when it is unreadable.

    No offset means UTC; any number of fraction digits is cut to microseconds.
    """
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = map(int, match.groups()[:6])
    fraction, sign, hours, minutes = match.groups()[6:]
    microsecond = int((fraction or "")[:6].ljust(6, "0"))
    try:
        zone = _zone(sign, int(hours or 0), int(minutes or 0))
        return datetime(year, month, day, hour, minute, second, microsecond, zone)
    except ValueError:  # a field out of its range
        return None


def _zone(sign: str | None, hours: int, minutes: int) -> timezone:
    if hours > 23 or minutes > 59:
        raise ValueError("no such offset")
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(-offset if sign == "-" else offset) if offset else UTC


@lru_cache(maxsize=16)
def parse_http_date(text: str) -> datetime | None:
    """Read an HTTP-date in any of its three forms (RFC 9110 section 5.6.7); None for anything else."""
    for form in _HTTP_DATES:
        if match := form.fullmatch(text):
            return _from_fields(match.groupdict())
    return None


def _from_fields(fields: dict[str, str]) -> datetime | None:
    year, second = int(fields["year"]), int(fields["second"])
    if len(fields["year"]) == 2:
        year += 2000 if year < 70 else 1900
    month = _MONTHS.index(fields["month"]) + 1
    hour, minute = int(fields["hour"]), int(fields["minute"])
    leap = timedelta(seconds=1 if second == 60 else 0)
    try:
        return datetime(year, month, int(fields["day"]), hour, minute, second - (second == 60), tzinfo=UTC) + leap
    except (ValueError, OverflowError):
        return None


def parse_retry_after(fields: Sequence[str], date: datetime | None) -> float | None:
    """Read how many seconds to stay away (RFC 9110 section 10.2.3), never negative.

    A date counts against the answer's own `Date`; several fields, or anything else, count as absent.
    """
    if len(fields) != 1:
        return None
    text = fields[0].strip(" \t")
    if text.isascii() and text.isdigit():
        return min(float(text), _LONGEST_PAUSE)
    until = parse_http_date(text)
    if until is None or date is None:
        return None
    return float(min(max(math.ceil((until - date).total_seconds()), 0), _LONGEST_PAUSE))
