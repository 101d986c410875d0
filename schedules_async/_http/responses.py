"""The headers of a request, and what its answer means: a snapshot or an error. Pure."""

import http.client
import json
import re
from datetime import datetime
from typing import NamedTuple

from attrs import asdict, frozen
from multidict import CIMultiDict, CIMultiDictProxy

from schedules_async._operations.base_errors import MalformedResponseError, SchedulesError, copy_error
from schedules_async._operations.fields import is_same_tag, parse_http_date, parse_retry_after, parse_tag, read_json
from schedules_async._operations.operation import Operation, read_document, structure_operation, to_text
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

COMMON_HEADERS = {
    "Accept": "application/vnd.bentley.itwin-platform.v1+json",
    "Accept-Encoding": "gzip, deflate",
    "User-Agent": f"schedules-async/{__version__}",
}
_ERROR_CLASSES = {401: AuthenticationError, 403: PermissionDeniedError, 404: NotFoundError, 429: RateLimitedError}
_DETAIL_NAMES = ("code", "message", "target")
_GUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
_USABLE_TOKEN = re.compile(r"[\x21-\x7e]+")
_SHORTEST_SECRET = 16  # characters; a shorter token may occur in any answer by chance
_LIMIT_HEADERS = tuple(f"ITwinPlatform-RateLimited-{name}" for name in ("Tier", "API", "Operation", "Application"))


class Answer(NamedTuple):
    """One complete HTTP answer.

    `problem` says why there is no usable body (too large, undecodable); then `body` is empty. `received` is when its
    head came, by the wall clock, if it has a Retry-After.
    """

    status: int
    headers: CIMultiDict[str] | CIMultiDictProxy[str]
    body: bytes = b""
    problem: str | None = None
    received: datetime | None = None


class Fetched(NamedTuple):
    """The snapshot that a fetch returned.

    `is_kept` is False where the answer forbade storing it; `retry_after` (seconds) and `date` are the answer's.
    """

    operation: Operation
    is_not_modified: bool = False
    is_kept: bool = True
    retry_after: float | None = None
    date: datetime | None = None


@frozen(repr=False)
class BearerToken:
    """A token that no repr shows, so that it may appear in the frames of a traceback."""

    text: str

    def __repr__(self) -> str:
        return "<BearerToken>"

    def check(self) -> "BearerToken":
        """Return the token itself; raise TypeError or ValueError if no header can hold it (RFC 6750 section 2.1)."""
        if not isinstance(self.text, str):
            raise TypeError(f"a token must be a string, not {type(self.text).__name__}")
        if not _USABLE_TOKEN.fullmatch(self.text):
            raise ValueError(
                "an unusable token: empty, or with a character outside 0x21-0x7E (pass it without 'Bearer ')"
            )
        return self


class _Secret(str):
    """Text whose repr does not show it, as the frames of aiohttp hold the headers of a request."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


def request_headers(token: str, tag: str | None) -> dict[str, str]:
    """Return the headers of one request beside COMMON_HEADERS; a tag is sent byte for byte (RFC 9110 13.1.2)."""
    headers: dict[str, str] = {"Authorization": _Secret(f"Bearer {token}")}
    if tag is not None:
        headers["If-None-Match"] = tag
    return headers


def redact(token: str, answer: Answer) -> Answer:
    """Return the answer with the token blanked out, which some gateways repeat in their error messages.

    A 304 is returned as it is: it has no body, and none of its headers is shown.
    """
    if answer.status == 304 or len(token) < _SHORTEST_SECRET:
        return answer
    body = answer.body and _redact_body(token, answer.body)
    if token not in "\n".join(answer.headers.values()) and body == answer.body:
        return answer
    headers = CIMultiDict((name, value.replace(token, "***")) for name, value in answer.headers.items())
    return answer._replace(headers=headers, body=body)


def _redact_body(token: str, body: bytes) -> bytes:
    """Blank out the token, also in a JSON spelling: many writers escape a slash."""
    redacted = body.replace(token.encode(), b"***")
    if b"\\" not in redacted:
        return redacted
    try:
        text = json.dumps(read_json(redacted))
    except (ValueError, RecursionError):
        return redacted  # not JSON, so nothing will be read from it
    written = json.dumps(token)[1:-1]
    return text.replace(written, "***").encode() if written in text else redacted


def read_answer(ref: OperationRef, held: Operation | None, answer: Answer) -> Fetched | SchedulesError:
    """Return what an answer means, given the snapshot whose tag was sent."""
    if answer.status not in (200, 304):
        fault = f"unexpected status {answer.status}"
        error = read_error(answer) if answer.status >= 300 else MalformedResponseError(fault)
        error.ref = ref
        return error
    try:
        operation = _read_ok(ref, answer) if answer.status == 200 else _find_unmodified(held, answer)
    except MalformedResponseError as unreadable:
        return copy_error(unreadable, ref)  # without the frames that hold the answer
    is_kept = "Cache-Control" not in answer.headers or _may_keep(answer)
    date = answer.headers.get("Date", "")
    retry_after = parse_retry_after(answer.headers.getall("Retry-After", ()), date, answer.received)
    return Fetched(operation, answer.status == 304, is_kept, retry_after, parse_http_date(date))


def _read_ok(ref: OperationRef, answer: Answer) -> Operation:
    if answer.problem is not None:
        raise MalformedResponseError(answer.problem)
    document = read_document(answer.body)
    named, wanted = document.get("id"), ref.operation_id
    # A GUID is the same in any case (RFC 9562 section 4).
    if named != wanted and not (str(named).lower() == wanted.lower() and _GUID.fullmatch(wanted)):
        raise MalformedResponseError(f"the answer is about another operation than {wanted!r}")
    tag = parse_tag(answer.headers.getall("ETag", ()))
    return structure_operation({**document, "id": wanted}, ref.schedule_id, tag)


def _find_unmodified(held: Operation | None, answer: Answer) -> Operation:
    """Return the held snapshot itself (RFC 9110 section 15.4.5); a tag of the answer must match it weakly."""
    tag = parse_tag(answer.headers.getall("ETag", ()))
    if held is None or held.etag is None or (tag is not None and not is_same_tag(tag, held.etag)):
        raise MalformedResponseError("304 to an unconditional request, or with the tag of another snapshot")
    return held


def _may_keep(answer: Answer) -> bool:
    """Return False if `no-store` forbids storing the answer (RFC 9111 section 5.2.2.5)."""
    directives = ",".join(answer.headers.getall("Cache-Control")).lower().split(",")
    return "no-store" not in (directive.strip() for directive in directives)


def read_error(answer: Answer) -> ResponseError:
    """Return the error for the status of an answer, whatever its body holds."""
    facts, *details = _read_envelope(answer.body)
    fields, date = answer.headers.getall("Retry-After", ()), answer.headers.get("Date", "")
    retry_after = parse_retry_after(fields, date, answer.received)
    parts = (
        str(answer.status) if facts.code or facts.message else status_line(answer.status),
        facts.code and facts.code[:200],
        facts.message and f"({facts.message[:200]})",
        None if retry_after is None else f"Retry-After: {retry_after:.0f} s",
    )
    kind = _ERROR_CLASSES.get(answer.status, ServerError if answer.status >= 500 else ResponseError)
    return kind(
        " ".join(part for part in parts if part),
        status=answer.status,
        **asdict(facts),
        details=tuple(details),
        retry_after=retry_after,
        correlation_id=to_text(answer.headers.get("x-correlation-id")),
        limits={name: value for name in _LIMIT_HEADERS if (value := to_text(answer.headers.get(name))) is not None},
    )


def status_line(status: int) -> str:
    """Return a status with its standard phrase, not the one that was sent; the status alone if it has none."""
    return f"{status} {http.client.responses.get(status, '')}".rstrip()


def _read_envelope(body: bytes) -> list[ErrorDetail]:
    """Return what the contract's error object, and its details, have of the right type; gateways send anything."""
    try:
        document = read_json(body)
    except (ValueError, RecursionError):
        document = None  # not JSON, so only the status counts
    error = document.get("error") if isinstance(document, dict) else None
    if not isinstance(error, dict):
        return [ErrorDetail()]
    details = error.get("details")
    entries = [error, *(details if isinstance(details, list) else ())]
    objects = [entry for entry in entries if isinstance(entry, dict)]
    return [ErrorDetail(*(to_text(each.get(name)) for name in _DETAIL_NAMES)) for each in objects]
