"""Header values, rule by rule."""

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedules_async._operations.fields import parse_http_date, parse_retry_after

NOON = datetime(2020, 1, 2, 12, tzinfo=UTC)
EXAMPLE = datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)  # RFC 9110's own


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Sun, 06 Nov 1994 08:49:37 GMT", EXAMPLE),
        ("Sunday, 06-Nov-94 08:49:37 GMT", EXAMPLE),
        ("Sun Nov  6 08:49:37 1994", EXAMPLE),
        ("Wed Nov 16 08:49:37 1994", EXAMPLE + timedelta(days=10)),
        ("Wednesday, 01-Jan-20 00:00:00 GMT", datetime(2020, 1, 1, tzinfo=UTC)),
        ("Sat, 31 Dec 2016 23:59:60 GMT", datetime(2017, 1, 1, tzinfo=UTC)),
    ],
)
def test_each_form_of_http_date_is_read(text: str, expected: datetime) -> None:
    assert parse_http_date(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "1994-11-06T08:49:37Z",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Xyz, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Abc 1994 08:49:37 GMT",
        "sun, 06 nov 1994 08:49:37 gmt",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 31 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:49:37 GMT",
        "Sun, 06 Nov 1994 08:60:37 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Fri, 31 Dec 9999 23:59:60 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT\n",
    ],
)
def test_any_other_http_date_is_none(text: str) -> None:
    assert parse_http_date(text) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        ("007", 7.0),
        (" 7\t", 7.0),
        ("3600", 3600.0),
        ("9" * 30, 1e9),
        ("9" * 5000, 1e9),
        ("0" * 5000 + "7", 7.0),
        ("Thu, 02 Jan 2020 12:00:30 GMT", 30.0),
        ("Thursday, 02-Jan-20 12:00:30 GMT", 30.0),
        ("Thu Jan  2 12:00:30 2020", 30.0),
        ("Thu, 02 Jan 2020 12:00:00 GMT", 0.0),
        ("Thu, 02 Jan 2020 11:00:00 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 1e9),
        ("Mon, 01 Jan 0001 00:00:00 GMT", 0.0),
    ],
)
def test_retry_after_is_a_delay_in_seconds(value: str, seconds: float) -> None:
    assert parse_retry_after([value], "", NOON) == seconds


def test_delay_until_date_is_rounded_up() -> None:
    assert parse_retry_after(["Thu, 02 Jan 2020 12:00:30 GMT"], "", NOON + timedelta(milliseconds=1)) == 30.0
    assert parse_retry_after(["Thu, 02 Jan 2020 12:00:30 GMT"], "", NOON + timedelta(milliseconds=999)) == 30.0


@pytest.mark.parametrize(
    "fields",
    [
        [],
        ["7", "7"],
        ["7", "Thu, 02 Jan 2020 12:00:30 GMT"],
        [""],
        ["-1"],
        ["+7"],
        ["1.5"],
        ["1e3"],
        ["7s"],
        ["7, 8"],
        ["0x10"],
        ["soon"],
        ["NaN"],
        ["inf"],
        ["\u0667"],
        ["\u00b2"],
        ["\udcff"],
        ["2020-01-02T12:00:30Z"],
        ["Thu, 02 Jan 2020 12:00:61 GMT"],
        ["Thu, 32 Jan 2020 12:00:30 GMT"],
    ],
)
def test_any_other_retry_after_counts_as_absent(fields: list[str]) -> None:
    assert parse_retry_after(fields, "", NOON) is None


def test_date_without_reference_counts_as_absent() -> None:
    assert parse_retry_after(["7"], "", None) == 7.0
    assert parse_retry_after(["Thu, 02 Jan 2020 12:00:30 GMT"], "", None) is None


FIELDS = ["", "7", " 7\t", "-1", "Thu, 02 Jan 2020 12:00:30 GMT", "Thursday, 02-Jan-20 12:00:30 GMT", "soon"]
HALVES = st.text(st.characters(codec=None), max_size=12) | st.text(" ,:-0123456789", max_size=12)
NEAR_MISSES = st.builds(
    lambda field, start, end, middle: field[:start] + middle + field[end:],
    st.sampled_from(FIELDS),
    st.integers(0, 30),
    st.integers(0, 30),
    HALVES,
)
MOMENTS = st.datetimes(timezones=st.just(UTC))
FORMS = ("%a, %d %b %Y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y", "%A, %d-%b-%y %H:%M:%S GMT")


def write_date(moment: datetime, form: str) -> str:
    """Write an HTTP-date; systems differ in how they pad year and day."""
    return moment.strftime(form.replace("%Y", f"{moment.year:04}").replace("%e", f"{moment.day:2}"))


@given(fields=st.lists(NEAR_MISSES | st.integers().map(str), max_size=2), date=st.none() | MOMENTS)
def test_any_retry_after_is_delay_or_none(fields: list[str], date: datetime | None) -> None:
    seconds = parse_retry_after(fields, "", date)
    assert seconds is None or (type(seconds) is float and 0 <= seconds <= 1e9)
    assert seconds is None or len(fields) == 1
    if date is None and seconds is not None:
        assert fields[0].strip(" \t").isdigit()


@given(seconds=st.integers(min_value=0), zeros=st.integers(0, 3), date=st.none() | MOMENTS)
def test_seconds_do_not_depend_on_the_date(seconds: int, zeros: int, date: datetime | None) -> None:
    assert parse_retry_after(["0" * zeros + str(seconds)], "", date) == min(seconds, 1e9)


@given(moment=MOMENTS, date=MOMENTS, form=st.sampled_from(FORMS))
def test_delay_until_date_is_never_cut_short(moment: datetime, date: datetime, form: str) -> None:
    """It ends in the second that the date names, or later."""
    if "%y" in form:
        moment = moment.replace(year=1970 + moment.year % 100, day=min(moment.day, 28))
    text = write_date(moment, form)
    assert parse_http_date(text) == moment.replace(microsecond=0)
    delay = parse_retry_after([text], "", date)
    left = (moment.replace(microsecond=0) - date).total_seconds()
    assert delay is not None
    assert delay == (min(math.ceil(left), 1e9) if left > 0 else 0.0)


@given(text=NEAR_MISSES)
def test_any_text_is_http_date_or_none(text: str) -> None:
    found = parse_http_date(text)
    assert found is None or (found.tzinfo is UTC and found.microsecond == 0)
