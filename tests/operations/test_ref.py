"""Refs: what names an operation, and the places where its ids are read."""

import json
import pickle
from collections.abc import Mapping
from typing import Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from schedules_async._operations.ref import OperationRef, RefLike, as_ref, as_refs

LINK = "https://api.bentley.com/schedules/s/operations/o"
OTHER_LINK = "https://api.bentley.com/schedules/other/operations/other"
REF = OperationRef("s", "o")


def body_with(href: object) -> dict[str, object]:
    return {"operation": {"id": "o"}, "_links": {"operationLocation": {"href": href}}}


def test_ref_is_a_hashable_value() -> None:
    schedule_id, operation_id = OperationRef("s", "o")
    assert (schedule_id, operation_id) == ("s", "o")
    assert str(OperationRef("s", "o")) == "s/o"
    assert {OperationRef("s", "o"), OperationRef("s", "o"), OperationRef("s", "p")} == {REF, OperationRef("s", "p")}
    assert pickle.loads(pickle.dumps(REF)) == REF
    for name in ("schedule_id", "operation_id"):
        with pytest.raises(AttributeError):
            setattr(REF, name, "t")


@pytest.mark.parametrize(
    ("schedule_id", "operation_id", "path"),
    [
        ("s", "o", "/schedules/s/operations/o"),
        ("a/b", "c#d", "/schedules/a%2Fb/operations/c%23d"),
        ("a?b", "c d", "/schedules/a%3Fb/operations/c%20d"),
        ("%2e%2e", "...", "/schedules/%252e%252e/operations/..."),
        ("é", "\U0001f600", "/schedules/%C3%A9/operations/%F0%9F%98%80"),
        ("a\r\nb", "~-_.", "/schedules/a%0D%0Ab/operations/~-_."),
    ],
)
def test_each_id_is_one_path_segment(schedule_id: str, operation_id: str, path: str) -> None:
    ref = OperationRef(schedule_id, operation_id)
    assert ref.path == path
    assert OperationRef.from_url("https://host" + path) == ref


@pytest.mark.parametrize("bad", ["", ".", "..", "\ud800", "a\udfff"])
def test_id_of_another_resource_is_an_error(bad: str) -> None:
    with pytest.raises(ValueError, match="schedule_id"):
        OperationRef(bad, "o")
    with pytest.raises(ValueError, match="operation_id"):
        OperationRef("s", bad)


@pytest.mark.parametrize("bad", [None, 5, b"s", ["s"]])
def test_id_of_another_type_is_an_error(bad: Any) -> None:
    with pytest.raises(TypeError, match="schedule_id"):
        OperationRef(bad, "o")
    with pytest.raises(TypeError, match="operation_id"):
        OperationRef("s", bad)


@pytest.mark.parametrize(
    "url",
    [
        LINK,
        LINK + "/",
        LINK + "?expand=all#end",
        "http://localhost:8080/schedules/s/operations/o",
        "https://[::1]:8443/gateway/v2/schedules/s/operations/o",
        "https://host/schedules/x/operations/y/schedules/s/operations/o",
        "/schedules/s/operations/o",
        "schedules/s/operations/o",
        "https://host/schedules/%73/operations/%6f",
        URL(LINK),
    ],
)
def test_url_of_any_host_and_prefix_is_read(url: str | URL) -> None:
    assert OperationRef.from_url(url) == REF


@pytest.mark.parametrize(
    ("url", "ref"),
    [
        ("https://host/schedules/a%2Fb/operations/c%3Fd", OperationRef("a/b", "c?d")),
        (URL("https://host/schedules/a%2Fb/operations/c%23d"), OperationRef("a/b", "c#d")),
        ("https://host/schedules/%C3%A9/operations/a+b", OperationRef("é", "a+b")),
    ],
)
def test_percent_encoded_ids_are_decoded(url: str | URL, ref: OperationRef) -> None:
    assert OperationRef.from_url(url) == ref


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://host",
        "https://host/",
        "https://host/schedules/s",
        "https://host/schedules/s/operations",
        "https://host/schedules/s/operations/",
        "https://host/schedules//operations/o",
        "https://host/schedules/s/operations/o/results",
        "https://host/schedules/s/operations/o//",
        "https://host/schedules/s/tasks/o",
        "https://host/imports/s/operations/o",
        "https://host/Schedules/s/Operations/o",
        "https://host/?next=/schedules/s/operations/o",
        "https://host/schedules/../operations/o",
        "https://host/schedules/s/operations/%2e%2e",
        "https://host/schedules/s/operations/%ff",
        "https://host/schedules/s/operations/\udcff",
        "https://[host/schedules/s/operations/o",
        URL("https://host/schedules/s"),
    ],
)
def test_url_of_another_resource_is_an_error(url: str | URL) -> None:
    with pytest.raises(ValueError, match=r"operation|schedule_id|decode|IPv6"):
        OperationRef.from_url(url)


@pytest.mark.parametrize("url", [None, 5, LINK.encode(), ["schedules", "s", "operations", "o"]])
def test_url_of_another_type_is_an_error(url: Any) -> None:
    with pytest.raises(TypeError):
        OperationRef.from_url(url)


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("s/o", REF),
        ("my schedule/o?x#y", OperationRef("my schedule", "o?x#y")),
        ("a%2Fb/c", OperationRef("a%2Fb", "c")),
        (LINK, REF),
        ("/schedules/s/operations/o", REF),
        ("https://host/schedules/a%2Fb/operations/c", OperationRef("a/b", "c")),
    ],
)
def test_ref_is_parsed_from_its_text_or_url(text: str, ref: OperationRef) -> None:
    assert OperationRef.parse(text) == as_ref(text) == ref
    assert as_refs([text]) == (ref,)


@pytest.mark.parametrize(
    "text", ["", "s", "/", "s/", "/o", "../o", "s/o/p", "a/b/c/d", "https://host", "s/\ud800", "s//"]
)
def test_other_text_is_no_ref(text: str) -> None:
    for read in (OperationRef.parse, as_ref):
        with pytest.raises(ValueError, match=r"operation|schedule_id"):
            read(text)


@pytest.mark.parametrize("value", [None, 5, b"s/o", ["s"], ("s", "o", "p"), object()])
def test_value_of_another_type_is_no_ref(value: Any) -> None:
    for read in (OperationRef.parse, as_ref):
        with pytest.raises(TypeError):
            read(value)


@pytest.mark.parametrize("value", [REF, ("s", "o"), "s/o", LINK, URL(LINK)], ids=repr)
def test_ref_is_accepted_in_each_form(value: RefLike) -> None:
    assert as_ref(value) == REF
    assert as_refs([value, value]) == (REF, REF)


@pytest.mark.parametrize("values", [REF, "s/o", URL(LINK)], ids=repr)
def test_single_operation_is_no_group(values: Any) -> None:
    with pytest.raises(TypeError, match="iterable of operations"):
        as_refs(values)


@pytest.mark.parametrize("name", ["Operation-Location", "operation-location", "OPERATION-LOCATION"])
@pytest.mark.parametrize("kind", [dict, CIMultiDict, lambda headers: CIMultiDictProxy(CIMultiDict(headers))])
def test_header_names_operation_in_any_case(kind: type[dict[str, str]], name: str) -> None:
    headers = kind({"Content-Type": "application/json", "Location": OTHER_LINK, name: LINK})
    assert OperationRef.from_response(headers) == REF
    assert OperationRef.from_response(headers, body_with(OTHER_LINK)) == REF


@pytest.mark.parametrize("headers", [{}, {"Operation-Location": ""}, {"Location": OTHER_LINK, "Operation-Id": "other"}])
@pytest.mark.parametrize(
    "body",
    [
        body_with(LINK),
        json.dumps(body_with(LINK)),
        json.dumps(body_with(LINK)).encode(),
        b"\xef\xbb\xbf" + json.dumps(body_with(LINK)).encode(),
        "\ufeff" + json.dumps(body_with(LINK)),
    ],
)
def test_body_names_operation_without_the_header(
    headers: dict[str, str], body: Mapping[str, object] | str | bytes
) -> None:
    assert OperationRef.from_response(headers, body) == REF


@pytest.mark.parametrize(
    "body",
    [
        None,
        {},
        body_with(None),
        body_with(""),
        body_with(5),
        {"_links": None},
        {"_links": {"operationLocation": "here"}},
        {"operation": {"id": "o"}},
        "",
        "<html>",
        b"\xff\xfe",
        "[]",
        "null",
        '{"_links": ',
        '{"_links": ' + "[" * 100_000,
        b'{"n": ' + b"9" * 5000 + b"}",
    ],
)
def test_response_without_operation_is_none(body: Mapping[str, object] | str | bytes | None) -> None:
    assert OperationRef.from_response({}, body) is None


def test_location_that_is_no_text_is_an_error() -> None:
    """It does not mean that no operation was started."""
    headers: dict[str, Any] = {"Operation-Location": LINK.encode()}
    with pytest.raises(TypeError, match="expected a URL, not bytes"):
        OperationRef.from_response(headers, body_with(LINK))


def test_location_of_another_resource_is_an_error() -> None:
    with pytest.raises(ValueError, match="not the URL of an operation"):
        OperationRef.from_response({"Operation-Location": "https://host/tasks/1"}, body_with(LINK))
    with pytest.raises(ValueError, match="not the URL of an operation"):
        OperationRef.from_response({}, body_with("https://host/tasks/1"))
