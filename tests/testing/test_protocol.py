import pytest

from schedules_async._operations.ref import OperationRef
from schedules_async.testing.protocol import make_etag, matches, read_bearer, read_path


@pytest.mark.parametrize(
    ("path", "prefix", "ref"),
    [
        ("/schedules/s/operations/o", "", OperationRef("s", "o")),
        ("/schedules/s/operations/o?x=1", "", OperationRef("s", "o")),
        ("/schedules/a%2Fb/operations/%C3%A9", "", OperationRef("a/b", "é")),
        ("/api/schedules/s/operations/o", "/api", OperationRef("s", "o")),
        ("/api/schedules/s/operations/o", "", None),
        ("/schedules/s/operations/o", "/api", None),
        ("/schedules/s/operations/o/", "", None),
        ("/schedules/s/operations/", "", None),
        ("/schedules/s", "", None),
        ("/schedules/../operations/o", "", None),
        ("/schedules/%FF/operations/o", "", None),
        ("*", "", None),
    ],
)
def test_path_is_read_as_ref_or_none(path: str, prefix: str, ref: OperationRef | None) -> None:
    assert read_path(path, prefix) == ref


@pytest.mark.parametrize(
    ("header", "token"),
    [("Bearer abc", "abc"), ("bearer  abc ", "abc"), ("Basic abc", None), ("Bearer", ""), ("", None)],
)
def test_authorization_is_read_as_bearer_token(header: str, token: str | None) -> None:
    assert read_bearer(header) == token


@pytest.mark.parametrize(
    ("condition", "etag", "expected"),
    [
        ('"a"', '"a"', True),
        ('"b"', '"a"', False),
        ('W/"a"', '"a"', True),
        ('"a"', 'W/"a"', True),
        ('"x", W/"y,z" ,"a"', '"a"', True),
        ('"y,a"', '"a"', False),
        ("*", '"a"', True),
        (" * ", '"a"', True),
        ('"*"', '"a"', False),
        ("a", '"a"', False),
        ("", '"a"', False),
        (None, '"a"', False),
        ("*", None, True),
        ('"a"', None, False),
        ('"y, "a"', '"a"', True),
        ('"y" "a"', '"a"', False),
        ('"a" x, "a"x', '"a"', False),
        (', ,"a",,', '"a"', True),
        ('"x", "y,z"', '"y,z"', True),
        ('*, "x"', '"a"', False),
        ('w/"a", W/ "a", W/W/"a"', '"a"', False),
    ],
)
def test_condition_matches_etag_as_in_rfc_9110(condition: str | None, etag: str | None, expected: bool) -> None:
    assert matches(condition, etag) is expected


def test_etags_are_strong_and_differ_with_bytes() -> None:
    tags = {make_etag(body) for body in (b"", b"a", b"b", b"a")}
    assert len(tags) == 3
    assert all(tag[0] == tag[-1] == '"' for tag in tags)
