"""Texts in answers: JSON, tags, timestamps, HTTP dates, Retry-After. Pure; each rule names its RFC section."""

import json
import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

_TAG = re.compile(r'(?:W/)?"[\x20\x21\x23-\x7e]*"')
_TIMESTAMP = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ](?:[01]\d|2[0-3]):\d\d:\d\d(?:\.\d+)?(?P<zone>[Zz]|[+-]\d\d:?[0-5]\d)?", re.ASCII
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
_LONGEST_DELAY = 1e9  # seconds; keeps sums of delays finite


def parse_tag(fields: Sequence[str]) -> str | None:
    """Return the tag of the ETag header; None unless there is exactly one field with one well-formed tag.

    The tag keeps its quotes and `W/`, to be sent back byte for byte (RFC 9110 section 8.8.3).
    """
    if len(fields) != 1 or not _TAG.fullmatch(fields[0]):
        return None
    return fields[0]


def read_json(text: str | bytes) -> Any:
    """Return the value of a JSON text, which is UTF-8; raise ValueError or RecursionError for anything else."""
    return json.loads((text.decode() if isinstance(text, bytes) else text).removeprefix("\ufeff"))


def read_any_json(text: str | bytes) -> Any:
    """Return the value of a text that may be JSON, None if it is not."""
    try:
        return read_json(text)
    except (ValueError, RecursionError):
        return None


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
    try:
        moment = datetime.fromisoformat(text.upper() if match["zone"] else f"{text}Z")
        moment.astimezone(UTC)
    except (ValueError, OverflowError):  # a field out of its range, or the year in UTC
        return None
    return moment


@lru_cache(maxsize=16)
def parse_http_date(text: str) -> datetime | None:
    """Return the datetime of an HTTP-date in any of its three forms (RFC 9110 section 5.6.7), else None."""
    fields = next((match for form in _HTTP_DATES if (match := form.fullmatch(text))), None)
    if fields is None:
        return None
    year, month = int(fields["year"]), _MONTHS.index(fields["month"]) + 1
    if len(fields["year"]) == 2:
        year += 2000 if year < 70 else 1900
    day, hour, minute, second = (int(fields[name]) for name in ("day", "hour", "minute", "second"))
    is_leap = second == 60
    try:
        return datetime(year, month, day, hour, minute, second - is_leap, tzinfo=UTC) + timedelta(seconds=is_leap)
    except (ValueError, OverflowError):
        return None


def parse_retry_after(fields: Sequence[str], date: str, received: datetime | None) -> float | None:
    """Return the delay in seconds that Retry-After asks for (RFC 9110 section 10.2.3), never negative.

    A date counts from the answer's own `date` or, if that is unreadable, from when it was `received` (section 6.6.1).
    Several fields count as absent, and so does any other value.
    """
    if len(fields) != 1:
        return None
    text = fields[0].strip(" \t")
    if text.isascii() and text.isdigit():
        return min(float(text), _LONGEST_DELAY)
    until, sent = parse_http_date(text), parse_http_date(date) or received
    if until is None or sent is None:
        return None
    return float(min(max(math.ceil((until - sent).total_seconds()), 0), _LONGEST_DELAY))
