"""Rules of the service's HTTP contract that do not depend on an operation: paths, tokens, tags, headers, errors."""

import base64
import re
from collections.abc import Container
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache
from urllib.parse import unquote_plus

from attrs import define, field, setters
from multidict import CIMultiDict, CIMultiDictProxy

from schedules_async._operations.ref import OperationRef
from schedules_async.testing.answers import MEDIA_TYPE, Answer, error_answer

ENDPOINT = "/connect/token"
NOT_FOUND = error_answer(404, "OperationNotFound", "Requested Operation is not available.", target="operationId")


@define(eq=False, on_setattr=setters.frozen)
class ReceivedRequest:
    """One request that the server received.

    `ref` is None if the path names no operation; `time` is the server's clock at arrival, in seconds; `path` is
    raw and includes the query; `headers` is case-insensitive. `status` is the status of the answer, or None if
    no HTTP answer was sent, or none yet.
    """

    ref: OperationRef | None
    time: float
    method: str
    path: str
    headers: CIMultiDictProxy[str]
    status: int | None = field(default=None, init=False, on_setattr=setters.NO_OP)

    @property
    def if_none_match(self) -> str | None:
        """The value of If-None-Match, several fields joined with commas, or None."""
        return ", ".join(self.headers.getall("If-None-Match", ())) or None


@lru_cache(maxsize=1024)
def read_path(path: str, prefix: str) -> OperationRef | None:
    """Return the operation that a raw request path below `prefix` names, or None for any other path."""
    path = path.partition("?")[0]
    if not re.fullmatch(rf"{re.escape(prefix)}/schedules/[^/]+/operations/[^/]+", path):
        return None
    try:
        return OperationRef.from_url(path)
    except ValueError:  # not UTF-8, or an invalid id
        return None


def check_token(authorization: str | None, valid: Container[str]) -> Answer | None:
    """Return the error for a missing or wrong bearer token, or None for a valid one (RFC 6750 section 2.1)."""
    if authorization is None:
        message, challenge = "Header Authorization was not found in the request. Access denied.", "Bearer"
        return error_answer(401, "HeaderNotFound", message, {"WWW-Authenticate": challenge})
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() == "bearer" and token.strip() in valid:
        return None
    message, challenge = "The access token is not valid. Access denied.", 'Bearer error="invalid_token"'
    return error_answer(401, "InvalidToken", message, {"WWW-Authenticate": challenge})


def check_client(method: str, authorization: str, client: tuple[str, str]) -> Answer | None:
    """Return the error for a token request, or None for a POST by `client`, its id and secret (RFC 6749 2.3.1, 5.2)."""
    if method != "POST":
        return error_answer(405, "MethodNotAllowed", "Tokens are requested with POST.", {"Allow": "POST"})
    scheme, _, encoded = authorization.partition(" ")
    try:
        sent = base64.b64decode(encoded, validate=True).decode().split(":")
    except ValueError:  # not base64, or not UTF-8
        sent = []
    if scheme.lower() == "basic" and [unquote_plus(part) for part in sent] == [*client]:
        return None
    return Answer(401, {"error": "invalid_client"}, {"WWW-Authenticate": "Basic"})


def check_route(received: ReceivedRequest) -> Answer | None:
    """Return None for a GET or HEAD of an operation with at most one If-None-Match, else the error for the request."""
    if received.ref is None:
        return error_answer(404, "ResourceNotFound", "Requested resource is not available.")
    if received.method not in ("GET", "HEAD"):
        return error_answer(405, "MethodNotAllowed", "The resource can only be read.", {"Allow": "GET, HEAD"})
    if len(received.headers.getall("If-None-Match", ())) > 1:
        return error_answer(400, "InvalidRequest", "Header If-None-Match was found more than once.")
    return None


def to_headers(answer: Answer, date: datetime) -> CIMultiDict[str]:
    """Return the headers of an answer that is sent at a date, and add Date and Content-Type if it has none."""
    headers = CIMultiDict(answer.headers)
    headers.setdefault("Date", format_datetime(date, usegmt=True))
    if answer.body:
        headers.setdefault("Content-Type", MEDIA_TYPE)
    return headers


def matches(if_none_match: str | None, etag: str | None) -> bool:
    """Return True if the condition matches `etag`: a list, compared weakly, or `*` (RFC 9110 section 13.1.2).

    A malformed list is read as nginx reads it: every comma ends a tag.
    """
    condition = (if_none_match or "").strip()
    if condition == "*" or etag is None:
        return condition == "*"
    tag = etag.removeprefix("W/")
    if tag not in condition:  # as after each change: no pattern has to be compiled
        return False
    return re.search(rf"(?:^|,)[ \t]*(?:W/)?{re.escape(tag)}[ \t]*(?:,|$)", condition) is not None
