"""Entity tags and timestamps, rule by rule."""

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedules_async._operations.fields import is_same_tag, parse_tag, parse_timestamp, read_any_json

NOON = datetime(2020, 1, 2, 12, tzinfo=UTC)
ZONES = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
DAY_TWO, DAY_BEFORE_LAST = (datetime.fromisoformat(day) for day in ("0001-01-02", "9999-12-30"))


@pytest.mark.parametrize(
    "tag", ['"abc"', 'W/"abc"', '""', 'W/""', '"a b!#~"', '"0x8D,1"', r'"a\b"', '"\'"', '"W/"', '"' + "a" * 5000 + '"']
)
def test_well_formed_tag_is_kept_byte_for_byte(tag: str) -> None:
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
    ("text", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        ("\ufeff[1]", [1]),
        (b"\xef\xbb\xbf[1]", [1]),
        ('"\u00e9"'.encode(), "\u00e9"),
        ("", None),
        (b"\xff", None),
        ('"\u00e9"'.encode("utf-16"), None),
        ("9" * 5000, None),
        ("[" * 100_000, None),
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_text_that_is_no_json_is_none(text: str | bytes, value: object) -> None:
    assert read_any_json(text) == value


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
def test_timestamp_is_an_aware_datetime(text: str, expected: datetime) -> None:
    found = parse_timestamp(text)
    assert found == expected
    assert found is not None
    assert found.tzinfo is not None
    assert parse_timestamp(found.isoformat()) == found


def test_offset_of_timestamp_is_kept() -> None:
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


@given(text=st.text(st.characters(codec=None), max_size=40) | st.datetimes().map(datetime.isoformat))
def test_any_text_is_timestamp_or_none(text: str) -> None:
    found = parse_timestamp(text)
    assert found is None or found.astimezone(UTC) == found


@given(moment=st.datetimes(DAY_TWO, DAY_BEFORE_LAST, timezones=ZONES))
def test_timestamp_in_any_zone_is_read_back(moment: datetime) -> None:
    assert parse_timestamp(moment.isoformat()) == moment
    assert parse_timestamp(moment.isoformat().replace(":", "").replace("T", " ")) is None


@given(fields=st.lists(st.text(st.characters(codec=None), max_size=12) | st.text('"W/ x', max_size=6), max_size=2))
def test_any_tag_kept_can_be_sent_back(fields: list[str]) -> None:
    tag = parse_tag(fields)
    assert tag is None or fields == [tag]
    assert tag is None or re.fullmatch('(W/)?"[ !#-~]*"', tag)
    assert tag is None or is_same_tag(tag, tag.removeprefix("W/"))
