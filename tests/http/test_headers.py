"""Header values and timestamps, rule by rule."""

import math
import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedules_async._http.headers import parse_http_date, parse_retry_after
from schedules_async._operations.fields import is_same_tag, parse_tag, parse_timestamp

NOON = datetime(2020, 1, 2, 12, tzinfo=UTC)
EXAMPLE = datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)  # RFC 9110's own


@pytest.mark.parametrize(
    "tag", ['"abc"', 'W/"abc"', '""', 'W/""', '"a b!#~"', '"0x8D,1"', r'"a\b"', '"\'"', '"W/"', '"' + "a" * 5000 + '"']
)
def test_a_well_formed_tag_is_kept_byte_for_byte(tag: str) -> None:
    assert parse_tag([tag]) == tag


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [""],
        ["abc"],
        ["*"],
        ['"abc'],
        ['abc"'],
        ['"'],
        ['w/"abc"'],
        ['W/ "abc"'],
        ['W/W/"abc"'],
        ['"a"b"'],
        ['"a", "b"'],
        ['"a"', '"b"'],
        ['"a"', '"a"'],
        [' "a"'],
        ['"a" '],
        ['"a"\n'],
        ['"a\tb"'],
        ['"a\x00b"'],
        ['"a\x7f"'],
        ['"caf\xe9"'],
        ['"caf\udcc3\udca9"'],
        ['"\u2028"'],
    ],
)
def test_any_other_tag_counts_as_none(fields: list[str]) -> None:
    assert parse_tag(fields) is None


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ('"x"', '"x"', True),
        ('W/"x"', '"x"', True),
        ('"x"', 'W/"x"', True),
        ('W/"x"', 'W/"x"', True),
        ('"x"', '"X"', False),
        ('W/"1"', 'W/"2"', False),
        ('"x"', '"x-gzip"', False),
        ('"W/"', '""', False),
    ],
)
def test_tags_compare_weakly(one: str, other: str, is_same: bool) -> None:
    assert is_same_tag(one, other) is is_same


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2020-01-02T12:00:00Z", NOON),
        ("2020-01-02t12:00:00z", NOON),
        ("2020-01-02 12:00:00Z", NOON),
        ("2020-01-02T12:00:00", NOON),
        ("2020-01-02T12:00:00+00:00", NOON),
        ("2020-01-02T12:00:00-00:00", NOON),
        ("2020-01-02T17:30:00+05:30", NOON),
        ("2020-01-02T17:30:00+0530", NOON),
        ("2020-01-01T12:01:00-23:59", NOON),
        ("2020-01-03T11:59:00+23:59", NOON),
        ("2020-01-02T12:00:00.1", NOON.replace(microsecond=100_000)),
        ("2020-01-02T12:00:00.123456Z", NOON.replace(microsecond=123_456)),
        ("2020-01-02T12:00:00.1234567Z", NOON.replace(microsecond=123_456)),
        ("2020-01-02T12:00:00.9999999Z", NOON.replace(microsecond=999_999)),
        ("2020-01-02T12:00:00.0000009+00:00", NOON),
        ("2020-01-02T12:00:00." + "9" * 5000, NOON.replace(microsecond=999_999)),
        ("2020-02-29T23:59:59Z", datetime(2020, 2, 29, 23, 59, 59, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
        ("0001-01-01T14:00:00+14:00", datetime(1, 1, 1, tzinfo=UTC)),
        ("9999-12-31T09:59:59-14:00", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("9999-12-31T23:59:59Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_a_timestamp_is_an_aware_moment(text: str, expected: datetime) -> None:
    found = parse_timestamp(text)
    assert found == expected
    assert found is not None
    assert found.tzinfo is not None
    assert parse_timestamp(found.isoformat()) == found


def test_an_offset_is_kept() -> None:
    east, west = parse_timestamp("2020-01-02T12:00:00+05:30"), parse_timestamp("2020-01-02T12:00:00-05:30")
    assert east is not None
    assert east.utcoffset() == timedelta(hours=5, minutes=30)
    assert west is not None
    assert west.tzinfo == timezone(-timedelta(hours=5, minutes=30))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "1577966400",
        "2020-01-02",
        "20200102T120000Z",
        "2020-01-02T12:00Z",
        "2020-1-2T12:00:00Z",
        "2020-01-02T12:00:60Z",
        "2016-12-31T23:59:60Z",
        "2020-01-02T24:00:00Z",
        "2020-01-02T12:60:00Z",
        "2020-00-02T12:00:00Z",
        "2020-13-02T12:00:00Z",
        "2020-01-00T12:00:00Z",
        "2021-02-29T12:00:00Z",
        "0000-01-01T00:00:00Z",
        "10000-01-01T00:00:00Z",
        "-2020-01-02T12:00:00Z",
        "2020-01-02T12:00:00.Z",
        "2020-01-02T12:00:00,5Z",
        "2020-01-02T12:00:00+24:00",
        "2020-01-02T12:00:00+05:60",
        "2020-01-02T12:00:00+05",
        "2020-01-02T12:00:00+05:00:30",
        "2020-01-02T12:00:00ZZ",
        "0001-01-01T00:00:00+14:00",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59.999-00:01",
        "2020-01-02T12:00:00 Z",
        " 2020-01-02T12:00:00Z",
        "2020-01-02T12:00:00Z\n",
        "\u0662\u0660\u0662\u0660-01-02T12:00:00Z",
        "2020-01-02T12:00:00\udc80",
    ],
)
def test_any_other_timestamp_is_unreadable(text: str) -> None:
    assert parse_timestamp(text) is None


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
def test_each_form_of_an_http_date_is_read(text: str, expected: datetime) -> None:
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
def test_any_other_date_is_none(text: str) -> None:
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
def test_retry_after_says_for_how_long(value: str, seconds: float) -> None:
    assert parse_retry_after([value], NOON) == seconds


def test_a_date_is_rounded_up_to_whole_seconds() -> None:
    assert parse_retry_after(["Thu, 02 Jan 2020 12:00:30 GMT"], NOON + timedelta(milliseconds=1)) == 30.0
    assert parse_retry_after(["Thu, 02 Jan 2020 12:00:30 GMT"], NOON + timedelta(milliseconds=999)) == 30.0


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
    assert parse_retry_after(fields, NOON) is None


def test_without_the_answers_own_date_only_seconds_count() -> None:
    assert parse_retry_after(["7"], None) == 7.0
    assert parse_retry_after(["Thu, 02 Jan 2020 12:00:30 GMT"], None) is None


FIELDS = ["", "7", " 7\t", "-1", "Thu, 02 Jan 2020 12:00:30 GMT", "Thursday, 02-Jan-20 12:00:30 GMT", "soon"]
HALVES = st.text(st.characters(codec=None), max_size=12) | st.text(" ,:-0123456789", max_size=12)
NEAR_MISSES = st.builds(
    lambda field, start, end, middle: field[:start] + middle + field[end:],
    st.sampled_from(FIELDS),
    st.integers(0, 30),
    st.integers(0, 30),
    HALVES,
)
DAY_TWO, DAY_BEFORE_LAST = (datetime.fromisoformat(day) for day in ("0001-01-02", "9999-12-30"))
MOMENTS = st.datetimes(timezones=st.just(UTC))
FORMS = ("%a, %d %b %Y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y", "%A, %d-%b-%y %H:%M:%S GMT")


def write_date(moment: datetime, form: str) -> str:
    """Write an HTTP-date; systems differ in how they pad year and day."""
    return moment.strftime(form.replace("%Y", f"{moment.year:04}").replace("%e", f"{moment.day:2}"))


@given(fields=st.lists(NEAR_MISSES | st.integers().map(str), max_size=2), date=st.none() | MOMENTS)
def test_any_text_at_any_date_is_a_pause_or_absent(fields: list[str], date: datetime | None) -> None:
    seconds = parse_retry_after(fields, date)
    assert seconds is None or (type(seconds) is float and 0 <= seconds <= 1e9)
    assert seconds is None or len(fields) == 1
    if date is None and seconds is not None:
        assert fields[0].strip(" \t").isdigit()


@given(seconds=st.integers(min_value=0), zeros=st.integers(0, 3), date=st.none() | MOMENTS)
def test_seconds_are_what_they_say_whatever_the_date(seconds: int, zeros: int, date: datetime | None) -> None:
    assert parse_retry_after(["0" * zeros + str(seconds)], date) == min(seconds, 1e9)


@given(moment=MOMENTS, date=MOMENTS, form=st.sampled_from(FORMS))
def test_a_date_is_the_pause_until_it_never_cut_short(moment: datetime, date: datetime, form: str) -> None:
    if "%y" in form:
        moment = moment.replace(year=1970 + moment.year % 100, day=min(moment.day, 28))
    text = write_date(moment, form)
    assert parse_http_date(text) == moment.replace(microsecond=0)
    pause = parse_retry_after([text], date)
    left = (moment.replace(microsecond=0) - date).total_seconds()
    assert pause is not None
    assert pause == (min(math.ceil(left), 1e9) if left > 0 else 0.0)


@given(text=NEAR_MISSES)
def test_any_text_is_a_date_or_none(text: str) -> None:
    found = parse_http_date(text)
    assert found is None or (found.tzinfo is UTC and found.microsecond == 0)


@given(text=st.text(st.characters(codec=None), max_size=40) | st.datetimes().map(datetime.isoformat))
def test_any_text_is_a_timestamp_or_none(text: str) -> None:
    found = parse_timestamp(text)
    assert found is None or found.astimezone(UTC) == found


@given(
    moment=st.datetimes(
        DAY_TWO, DAY_BEFORE_LAST, timezones=st.integers(-1439, 1439).map(lambda m: timezone(timedelta(minutes=m)))
    )
)
def test_a_timestamp_in_any_zone_is_read_as_it_was_written(moment: datetime) -> None:
    assert parse_timestamp(moment.isoformat()) == moment
    assert parse_timestamp(moment.isoformat().replace(":", "").replace("T", " ")) is None


@given(fields=st.lists(st.text(st.characters(codec=None), max_size=12) | st.text('"W/ x', max_size=6), max_size=2))
def test_any_tag_that_is_kept_can_be_sent_back(fields: list[str]) -> None:
    tag = parse_tag(fields)
    assert tag is None or fields == [tag]
    assert tag is None or re.fullmatch('(W/)?"[ !#-~]*"', tag)
    assert tag is None or is_same_tag(tag, tag.removeprefix("W/"))
