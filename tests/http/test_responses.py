"""The headers of a request, and what each answer means, by literals."""

import copy
import json
import math
import pickle
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from attrs import astuple
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy
from texts import ENCODABLE

from schedules_async._http.responses import (
    COMMON_HEADERS,
    Answer,
    BearerToken,
    Fetched,
    read_answer,
    read_error,
    redact,
    request_headers,
)
from schedules_async._operations.base_errors import MalformedResponseError, SchedulesError
from schedules_async._operations.operation import Operation, OperationStatus, to_text
from schedules_async._operations.ref import OperationRef
from schedules_async._version import __version__
from schedules_async.errors import (
    AuthenticationError,
    ErrorDetail,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    ResponseError,
    ServerError,
)

GUID = "bdc8fb5d-ce72-42f9-8818-bb2942927428"
REF = OperationRef("s", "o")
HELD = Operation("o", "s", OperationStatus.STARTED, percent_complete=10.0, etag='W/"1"')
UNTAGGED = Operation("o", "s", OperationStatus.STARTED)
DATE = "Thu, 02 Jan 2020 12:00:00 GMT"
NOON = datetime(2020, 1, 2, 12, tzinfo=UTC)

Fields = Mapping[str, str] | Sequence[tuple[str, str]]


def body_of(**fields: object) -> bytes:
    return json.dumps({"operation": {"id": "o", "status": "Started", "percentComplete": 42, **fields}}).encode()


def answer(status: int, headers: Fields = (), body: bytes = b"", problem: str | None = None) -> Answer:
    return Answer(status, CIMultiDict(headers), body, problem)


def ok(headers: Fields, body: bytes | None = None) -> Answer:
    return answer(200, headers, body_of() if body is None else body)


def error_body(error: object) -> bytes:
    return json.dumps({"error": error}).encode()


def fetched(held: Operation | None, single: Answer, ref: OperationRef = REF) -> Fetched:
    outcome = read_answer(ref, held, single)
    assert isinstance(outcome, Fetched)
    return outcome


def error_in(held: Operation | None, single: Answer, ref: OperationRef = REF) -> SchedulesError:
    outcome = read_answer(ref, held, single)
    assert isinstance(outcome, SchedulesError)
    assert outcome.ref == ref
    return outcome


BASE_HEADERS = {
    "Authorization": "Bearer token",
    "Accept": "application/vnd.bentley.itwin-platform.v1+json",
    "User-Agent": f"schedules-async/{__version__}",
}


@pytest.mark.parametrize(
    ("tag", "conditional"),
    [(None, {}), ('W/"1"', {"If-None-Match": 'W/"1"'}), ('"a b"', {"If-None-Match": '"a b"'})],
)
def test_tag_goes_back_byte_for_byte(tag: str | None, conditional: dict[str, str]) -> None:
    headers = {**COMMON_HEADERS, **request_headers("token", tag)}
    assert headers == {**BASE_HEADERS, "Accept-Encoding": headers["Accept-Encoding"], **conditional}
    assert "gzip" in headers["Accept-Encoding"]


def test_200_is_a_snapshot() -> None:
    found = fetched(HELD, ok({"ETag": '"2"', "Date": DATE, "Content-Type": "text/plain; charset=utf-16"}))
    assert found == Fetched(Operation("o", "s", OperationStatus.STARTED, percent_complete=42.0), date=NOON)
    assert found.operation.etag == '"2"'


def test_failed_operation_is_an_ordinary_answer() -> None:
    found = fetched(None, ok({}, body_of(status="Failed", failureDescription="disk full")))
    assert (found.operation.is_failed, found.operation.failure_description) == (True, "disk full")


@pytest.mark.parametrize(
    ("fields", "tag"),
    [
        ([], None),
        ([("ETag", '"2"')], '"2"'),
        ([("etag", 'W/"2"')], 'W/"2"'),
        ([("ETag", "2")], None),
        ([("ETag", '"caf\udcc3\udca9"')], None),
        ([("ETag", '"2"'), ("ETag", '"2"')], None),
    ],
)
def test_only_one_well_formed_tag_is_kept(fields: list[tuple[str, str]], tag: str | None) -> None:
    assert fetched(HELD, ok(fields)).operation.etag == tag


def test_body_does_not_set_tag_or_schedule() -> None:
    found = fetched(None, ok({}, body_of(etag='"2"', scheduleId="other")))
    assert found.operation.etag is None
    assert found.operation.ref == REF


@pytest.mark.parametrize("status", [200, 304])
@pytest.mark.parametrize(
    ("fields", "is_kept"),
    [
        ([], True),
        ([("Cache-Control", "no-cache, max-age=0")], True),
        ([("Cache-Control", "no-store")], False),
        ([("Cache-Control", "private, No-Store , max-age=60")], False),
        ([("cache-control", "private"), ("CACHE-CONTROL", "no-store")], False),
        ([("Cache-Control", "no-store-ish")], True),
    ],
)
def test_no_store_forbids_keeping(status: int, fields: list[tuple[str, str]], is_kept: bool) -> None:
    body = body_of() if status == 200 else b""
    assert fetched(HELD, answer(status, fields, body)).is_kept is is_kept


@pytest.mark.parametrize("status", [200, 304])
@pytest.mark.parametrize(
    ("fields", "retry_after", "date"),
    [
        ([], None, None),
        ([("Date", DATE)], None, NOON),
        ([("date", "Thursday, 02-Jan-20 12:00:00 GMT"), ("RETRY-AFTER", "7")], 7.0, NOON),
        ([("Retry-After", "7")], 7.0, None),
        ([("Retry-After", "7"), ("Retry-After", "7")], None, None),
        ([("Retry-After", "Thu, 02 Jan 2020 12:00:30 GMT")], None, None),
        ([("Retry-After", "Thu, 02 Jan 2020 12:00:30 GMT"), ("Date", DATE)], 30.0, NOON),
        ([("Retry-After", "Thu, 02 Jan 2020 11:00:00 GMT"), ("Date", DATE)], 0.0, NOON),
        ([("Retry-After", "-7"), ("Date", "today")], None, None),
    ],
)
def test_retry_after_is_read_from_every_answer(
    status: int, fields: list[tuple[str, str]], retry_after: float | None, date: datetime | None
) -> None:
    found = fetched(HELD, answer(status, fields, body_of() if status == 200 else b""))
    assert (found.retry_after, found.date) == (retry_after, date)
    if status == 200:
        assert read_error(answer(500, fields)).retry_after == retry_after


@pytest.mark.parametrize(
    ("fields", "retry_after"),
    [
        ({}, 30.0),
        ({"Date": "today"}, 30.0),
        ({"Date": "Thu, 02 Jan 2020 12:00:10 GMT"}, 20.0),
        ({"Date": "Thu, 02 Jan 2020 13:00:00 GMT"}, 0.0),
    ],
)
def test_retry_after_date_counts_from_the_time_received(fields: dict[str, str], retry_after: float) -> None:
    """Unless the answer has a Date of its own (RFC 9110 section 6.6.1)."""
    headers = CIMultiDict({"Retry-After": "Thu, 02 Jan 2020 12:00:30 GMT", **fields})
    assert read_error(Answer(503, headers, received=NOON)).retry_after == retry_after
    assert fetched(None, Answer(200, headers, body_of(), received=NOON)).retry_after == retry_after
    assert fetched(None, Answer(200, CIMultiDict(), body_of(), received=NOON)).date is None


@pytest.mark.parametrize(
    "fields", [[], [("ETag", 'W/"1"')], [("ETag", '"1"')], [("ETag", "odd")], [("ETag", '"8"'), ("ETag", '"9"')]]
)
def test_304_returns_the_held_object_itself(fields: list[tuple[str, str]]) -> None:
    found = fetched(HELD, answer(304, fields))
    assert found.operation is HELD
    assert found.is_not_modified


@pytest.mark.parametrize(
    ("held", "fields"),
    [(None, {}), (None, {"ETag": '"1"'}), (UNTAGGED, {}), (UNTAGGED, {"ETag": '"1"'}), (HELD, {"ETag": '"2"'})],
)
def test_304_without_matching_snapshot_is_malformed(held: Operation | None, fields: Fields) -> None:
    error = error_in(held, answer(304, fields))
    assert isinstance(error, MalformedResponseError)
    assert "304" in str(error)


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ("o", "O"),
        ("o", "other"),
        ("o", ""),
        ("o", None),
        ("o", 5),
        ("o", ["o"]),
        ("o", "\ud800"),
        ("\u017f", "S"),
        (GUID, GUID[:-1] + "9"),
        (GUID, "{" + GUID + "}"),
        (GUID, GUID.replace("-", "")),
        (GUID + "x", (GUID + "x").upper()),
    ],
)
def test_answer_about_another_operation_is_malformed(asked: str, named: object) -> None:
    ref = OperationRef("s", asked)
    error = error_in(None, ok({}, body_of(id=named)), ref)
    assert isinstance(error, MalformedResponseError)
    str(error).encode()


@pytest.mark.parametrize("named", [GUID, GUID.upper(), GUID.title()])
def test_guid_may_return_in_other_case(named: str) -> None:
    for asked in (GUID, GUID.upper()):
        found = fetched(None, ok({}, body_of(id=named)), OperationRef("s", asked))
        assert found.operation.ref == OperationRef("s", asked)


@pytest.mark.parametrize(
    "malformed",
    [
        ok({}, b""),
        ok({}, b"<html>"),
        ok({}, b"[]"),
        ok({}, b'{"error": {"code": "x"}}'),
        ok({}, body_of(status=None)),
        ok({}, body_of(percentComplete="42")),
        ok({}, body_of(updatedAt="2020-01-02T12:00:60Z")),
        ok({}, body_of(subStatus="\ud800")),
        answer(200, {}, b"", "the answer is larger than 1 MiB"),
        answer(200, {}, body_of(), "unknown Content-Encoding"),
        *(answer(status, {}, body_of()) for status in (0, 100, 103, 199, 201, 202, 203, 204, 206, 226, 299)),
    ],
    ids=lambda malformed: f"{malformed.status}-{malformed.problem or malformed.body!r}",
)
def test_answer_breaking_the_contract_is_malformed(malformed: Answer) -> None:
    error = error_in(HELD, malformed)
    assert isinstance(error, MalformedResponseError)
    assert malformed.problem is None or malformed.problem in str(error)


@pytest.mark.parametrize(
    ("statuses", "kind"),
    [
        ((300, 301, 302, 303, 305, 307, 308, 399), ResponseError),
        ((401,), AuthenticationError),
        ((403,), PermissionDeniedError),
        ((404,), NotFoundError),
        ((429,), RateLimitedError),
        ((400, 402, 405, 406, 407, 408, 409, 410, 412, 415, 418, 422, 451, 499), ResponseError),
        ((500, 501, 502, 503, 504, 505, 511, 599), ServerError),
        ((600, 601, 777, 999, 1000), ServerError),
    ],
)
def test_status_decides_the_error_class(statuses: tuple[int, ...], kind: type[ResponseError]) -> None:
    for status in statuses:
        for body, problem in ((body_of(), None), (b"", None), (b"", "too large")):
            error = error_in(HELD, answer(status, {"ETag": '"1"', "Location": "/"}, body, problem))
            assert type(error) is kind
            assert (error.status, error.code, error.message) == (status, None, None)


FULL = {
    "code": "InvalidRequest",
    "message": "Bad id.",
    "target": "operationId",
    "details": [{"code": "a", "message": "b", "target": "c"}, {"code": "d"}],
}


@pytest.mark.parametrize(
    ("body", "said", "details"),
    [
        (
            error_body(FULL),
            ErrorDetail("InvalidRequest", "Bad id.", "operationId"),
            (ErrorDetail("a", "b", "c"), ErrorDetail("d")),
        ),
        (b"\xef\xbb\xbf" + error_body({"code": "x"}), ErrorDetail("x"), ()),
        (error_body({"code": None, "message": "m"}), ErrorDetail(None, "m"), ()),
        (error_body({"code": 5, "message": ["m"], "target": "t"}), ErrorDetail(None, None, "t"), ()),
        (error_body({"code": "c", "message": "\ud800", "target": {}}), ErrorDetail("c"), ()),
        (error_body({"code": "c", "details": None}), ErrorDetail("c"), ()),
        (error_body({"code": "c", "details": "many"}), ErrorDetail("c"), ()),
        (error_body({"code": "c", "details": {"code": "x"}}), ErrorDetail("c"), ()),
        (
            error_body({"details": [None, 5, "x", [], {}, {"code": 5, "target": "t"}]}),
            ErrorDetail(),
            (ErrorDetail(), ErrorDetail(None, None, "t")),
        ),
        (error_body(None), ErrorDetail(), ()),
        (error_body("TooManyRequests"), ErrorDetail(), ()),
        (error_body([FULL]), ErrorDetail(), ()),
        (b'{"message": "no envelope"}', ErrorDetail(), ()),
        (b'{"error": {"code": "a", "code": "b"}}', ErrorDetail("b"), ()),
        (b"null", ErrorDetail(), ()),
        (b"[]", ErrorDetail(), ()),
        (b"", ErrorDetail(), ()),
        (b"<html>Bad Gateway</html>", ErrorDetail(), ()),
        (b'{"error": {"code": "caf\xe9"}}', ErrorDetail(), ()),
        (b"[" * 100_000, ErrorDetail(), ()),
        (b'{"error": {"code": "x", "n": ' + b"9" * 5000 + b"}}", ErrorDetail(), ()),
    ],
    ids=range(21),
)
def test_each_error_field_is_kept_alone(body: bytes, said: ErrorDetail, details: tuple[ErrorDetail, ...]) -> None:
    for status in (400, 401, 404, 429, 500):
        error = read_error(answer(status, {}, body))
        assert ErrorDetail(error.code, error.message, error.target) == said
        assert error.details == details


def test_error_text_holds_status_code_and_message() -> None:
    assert str(read_error(answer(502))) == "502 Bad Gateway"
    assert str(read_error(answer(599))) == "599"
    assert str(read_error(answer(429, {"Retry-After": "9" * 30}))) == "429 Too Many Requests Retry-After: 1000000000 s"
    assert str(read_error(answer(404, {}, error_body({"code": "OperationNotFound"})))) == "404 OperationNotFound"
    text = str(read_error(answer(422, {}, error_body(FULL))))
    assert "422" in text
    assert "InvalidRequest" in text
    assert "Bad id." in text
    endless = {"code": "c" * 100_000, "message": "m" * 100_000}
    assert len(str(read_error(answer(500, {}, error_body(endless))))) < 500


@pytest.mark.parametrize(
    ("fields", "correlation_id"),
    [({}, None), ({"X-Correlation-Id": "c0ffee"}, "c0ffee"), ({"x-correlation-id": "\udcff"}, None)],
)
def test_error_keeps_the_correlation_id(fields: Fields, correlation_id: str | None) -> None:
    error = read_error(answer(500, {**dict(fields), "ETag": 'W/"1"'}, b"text"))
    assert error.correlation_id == correlation_id


@pytest.mark.parametrize(
    ("fields", "limits"),
    [
        ({}, {}),
        ({"itwinplatform-ratelimited-tier": "Community"}, {"ITwinPlatform-RateLimited-Tier": "Community"}),
        (
            {
                "ITwinPlatform-RateLimited-Tier": "Standard",
                "ITwinPlatform-RateLimited-API": "schedules",
                "ITwinPlatform-RateLimited-Operation": "Get",
                "ITwinPlatform-RateLimited-Application": "app",
            },
            {
                "ITwinPlatform-RateLimited-Tier": "Standard",
                "ITwinPlatform-RateLimited-API": "schedules",
                "ITwinPlatform-RateLimited-Operation": "Get",
                "ITwinPlatform-RateLimited-Application": "app",
            },
        ),
        ({"ITwinPlatform-RateLimited-API": "\udcff", "X-Other": "x"}, {}),
    ],
)
def test_429_keeps_its_limits(fields: dict[str, str], limits: dict[str, str]) -> None:
    error = read_error(Answer(429, CIMultiDictProxy(CIMultiDict(fields)), error_body({"code": "TooManyRequests"})))
    assert isinstance(error, RateLimitedError)
    assert error.limits == limits


@pytest.mark.parametrize(
    ("status", "fields", "expected"),
    [
        (429, {}, True),
        (429, {"Retry-After": "7"}, True),
        (429, {"Retry-After": "soon"}, True),
        (503, {"Retry-After": "7"}, True),
        (503, {"Retry-After": "0"}, True),
        (503, {"Retry-After": "Thu, 02 Jan 2020 12:00:07 GMT", "Date": DATE}, True),
        (503, {"Retry-After": "Thu, 02 Jan 2020 12:00:07 GMT"}, False),
        (503, {"Retry-After": "soon"}, False),
        (503, {}, False),
        (500, {"Retry-After": "7"}, False),
        (404, {"Retry-After": "7"}, False),
    ],
)
def test_429_or_503_with_retry_after_is_throttled(status: int, fields: dict[str, str], expected: bool) -> None:
    error = read_error(answer(status, fields))
    assert error.is_throttling is expected
    assert error.status == status


NAMES = st.sampled_from(
    [
        "ETag",
        "etag",
        "Date",
        "Retry-After",
        "RETRY-AFTER",
        "Cache-Control",
        "x-correlation-id",
        "Content-Type",
        "ITwinPlatform-RateLimited-Tier",
    ]
)
VALUES = st.one_of(
    st.text(st.characters(codec=None), max_size=30),
    st.text("0123456789", max_size=400),
    st.sampled_from(
        ["", '"1"', 'W/"1"', DATE, "Thu, 02 Jan 2020 99:99:99 GMT", "no-store", "no-store=,,", "-1", "\udcff"]
    ),
    st.dates().map(lambda day: day.strftime("%a, %d %b %Y 12:00:00 GMT")),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(ENCODABLE, max_size=3), inner, max_size=3),
    max_leaves=8,
)
TIMES = st.datetimes().map(lambda moment: moment.isoformat()) | JSON
OPERATION = st.fixed_dictionaries(
    {},
    optional={
        "id": st.just("o") | JSON,
        "status": st.sampled_from(["Queued", "Failed", "Odd"]) | JSON,
        "percentComplete": st.integers(0, 100) | JSON,
        "subStatus": JSON,
        "failureDescription": JSON,
        "createdAt": TIMES,
        "updatedAt": TIMES,
        "scheduleId": JSON,
        "etag": JSON,
    },
)
USABLE = st.fixed_dictionaries(
    {"id": st.just("o"), "status": st.text(ENCODABLE, max_size=9), "percentComplete": st.floats()}
)
ERROR = st.fixed_dictionaries({}, optional=dict.fromkeys(("code", "message", "target", "details"), JSON))
DOCUMENTS = st.one_of(
    JSON,
    st.fixed_dictionaries({"operation": OPERATION | USABLE}),
    st.fixed_dictionaries({"error": ERROR | st.fixed_dictionaries({"details": st.lists(ERROR | JSON, max_size=3)})}),
)


def to_bytes(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass")


BODIES = st.binary(max_size=60) | DOCUMENTS.map(json.dumps).map(str.encode) | DOCUMENTS.map(to_bytes)


ANSWERS = st.builds(
    answer,
    status=st.integers(-1, 1100) | st.sampled_from([200, 200, 304, 304, 429, 503]),
    headers=st.lists(st.tuples(NAMES, VALUES), max_size=6),
    body=BODIES,
    problem=st.sampled_from([None, None, None, "too large"]),
)
HELDS = st.sampled_from([None, UNTAGGED, HELD])


@given(held=HELDS, anything=ANSWERS)
def test_any_answer_is_snapshot_or_typed_error(held: Operation | None, anything: Answer) -> None:
    """The status alone decides which error it is."""
    outcome = read_answer(REF, held, anything)
    if isinstance(outcome, Fetched):
        assert anything.status == (304 if outcome.is_not_modified else 200)
        check_snapshot(outcome, held, anything)
    else:
        error = outcome
        kinds = [kind for (first, last), kind in KINDS.items() if first <= anything.status <= last]
        assert type(error) is (kinds[0] if kinds else ResponseError)
        assert getattr(error, "status", anything.status) == anything.status
        assert (error.ref, len(str(error)) < 1000) == (REF, True)
        check_facts(error)


KINDS = {  # the first that fits
    (401, 401): AuthenticationError,
    (403, 403): PermissionDeniedError,
    (404, 404): NotFoundError,
    (429, 429): RateLimitedError,
    (500, math.inf): ServerError,
    (304, 304): MalformedResponseError,
    (-math.inf, 299): MalformedResponseError,
}


def check_snapshot(found: Fetched, held: Operation | None, anything: Answer) -> None:
    """The snapshot can be written down, and its tag is the answer's own, fit to be sent."""
    operation, tags = found.operation, anything.headers.getall("ETag", ())
    if found.is_not_modified:
        assert operation is held
    elif operation.etag is not None:
        assert [operation.etag] == tags
        assert re.fullmatch('(W/)?"[ !#-~]*"', operation.etag)
    assert operation.ref == REF
    assert found.retry_after is None or 0 <= found.retry_after <= 1e9
    assert math.isfinite(operation.percent_complete)
    assert 0 <= operation.fraction <= 1
    again = Operation.from_json(operation.to_json().encode())
    assert (again, again.etag) == (operation, operation.etag)
    assert pickle.loads(pickle.dumps(found)) == found


def check_facts(error: SchedulesError) -> None:
    """Each fact is text that can be written, or none, and all of them survive copying and pickling."""
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(twin) is type(error)
        assert (str(twin), vars(twin)) == (str(error), vars(error))
    texts: list[object] = [str(error)]
    if isinstance(error, ResponseError):
        assert error.retry_after is None or 0 <= error.retry_after <= 1e9
        texts += [error.code, error.message, error.target, error.correlation_id, *getattr(error, "limits", {}).values()]
        texts += [text for detail in error.details for text in astuple(detail)]
    assert all(text == to_text(text) for text in texts)


@pytest.mark.parametrize(
    ("headers", "body", "shown_headers", "shown_body"),
    [
        ({"A": "b"}, b"body", {"A": "b"}, b"body"),
        ({"A": "b"}, b"a canary-of-16-chars b", {"A": "b"}, b"a *** b"),
        ({"A": "b"}, b"a canary-of-16-char\\u0073 b", {"A": "b"}, b"a canary-of-16-char\\u0073 b"),  # no JSON
        ({"A": "Bearer canary-of-16-chars", "B": "c"}, b"body", {"A": "Bearer ***", "B": "c"}, b"body"),
    ],
)
def test_token_repeated_by_answer_is_redacted(
    headers: Fields, body: bytes, shown_headers: Fields, shown_body: bytes
) -> None:
    original = answer(400, headers, body)
    assert redact("canary-of-16-chars", original) == answer(400, shown_headers, shown_body)
    assert redact("body", original) is original  # it may be just a word


TOKENS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=14, max_size=30).map("~{}~".format)


@given(
    token=TOKENS | st.just('canary/of"16\\chars'),
    escaped=st.sets(st.integers(0, 30)),
    around=st.text(ENCODABLE, max_size=5),
)
def test_token_is_redacted_however_json_spells_it(token: str, escaped: set[int], around: str) -> None:
    written = "".join(
        f"\\u{ord(character):04x}" if number in escaped else json.dumps(character)[1:-1]
        for number, character in enumerate(token)
    ).replace("/", "\\/")
    message = json.dumps(around)[1:-1]
    body = f'{{"error": {{"code": "c", "message": "{message}{written}{message}", "target": "t"}}}}'.encode()
    error = read_error(redact(token, answer(403, {}, body)))
    assert (error.code, error.message, error.target) == ("c", f"{around}{token}{around}".replace(token, "***"), "t")


def test_headers_of_a_request_show_no_token() -> None:
    headers = request_headers("secret", '"E1"')
    assert headers == {"Authorization": "Bearer secret", "If-None-Match": '"E1"'}
    assert "secret" not in repr(headers)


# Which tokens can stand in a header, and where their text does not show


VISIBLE = "".join(map(chr, range(0x21, 0x7F)))
NOT_VISIBLE = [*map(chr, range(0x21)), *map(chr, range(0x7F, 0x100)), "\u2028", "\udc80", "\U0001f600"]


def test_bearer_token_shows_no_text() -> None:
    token = BearerToken("secret")
    assert token.text == "secret"
    assert "secret" not in f"{token} {token!r} {[token]}"


@pytest.mark.parametrize("tokens", [VISIBLE, [VISIBLE], ["eyJhbGciOi.J9~+/_-="], ["!" * 10_000]])
def test_usable_token_is_returned_itself(tokens: Iterable[str]) -> None:
    for text in tokens:
        token = BearerToken(text)
        assert token.check() is token
        assert token.text == text


@pytest.mark.parametrize("form", ["{}", "{}sec", "sec{}", "sec{}ret"])
def test_unusable_character_is_a_value_error(form: str) -> None:
    for token in map(BearerToken, map(form.format, NOT_VISIBLE)):
        with pytest.raises(ValueError, match=r"^an unusable token: empty, or with a character outside") as caught:
            token.check()
        assert caught.traceback[-1].locals == {"self": token}  # which no repr shows


def test_empty_token_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="unusable token"):
        BearerToken("").check()


@pytest.mark.parametrize("text", [None, 5, True, b"secret", ["secret"], {"secret": 1}])
def test_token_of_another_type_is_a_type_error(text: Any) -> None:
    token = BearerToken(text)
    with pytest.raises(TypeError, match=rf"^a token must be a string, not {type(text).__name__}$") as caught:
        token.check()
    assert caught.traceback[-1].locals == {"self": token}
