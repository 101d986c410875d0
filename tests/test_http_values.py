"""Header values and timestamps, rule by rule."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from schedules_async.http_values import is_same_tag, parse_http_date, parse_retry_after, parse_tag, parse_timestamp

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
