"""Rules of the service's HTTP contract that do not depend on an operation: paths, tokens, tags, quota, errors."""

import base64
import math
import re
from functools import lru_cache
from urllib.parse import unquote_plus

from attrs import define, field

from schedules_async._operations.ref import OperationRef
from schedules_async.testing.answers import Answer, error_answer

METHODS = ("GET", "HEAD")
ENDPOINT = "/connect/token"

_OPERATION_PATH = re.compile(r"/schedules/[^/]+/operations/[^/]+")

NO_TOKEN = error_answer(
    401,
    "HeaderNotFound",
    "Header Authorization was not found in the request. Access denied.",
    {"WWW-Authenticate": "Bearer"},
)
WRONG_TOKEN = error_answer(
    401,
    "InvalidToken",
    "The access token is not valid. Access denied.",
    {"WWW-Authenticate": 'Bearer error="invalid_token"'},
)
NO_OPERATION = error_answer(404, "OperationNotFound", "Requested Operation is not available.", target="operationId")
NO_RESOURCE = error_answer(404, "ResourceNotFound", "Requested resource is not available.")
WRONG_METHOD = error_answer(405, "MethodNotAllowed", "The resource can only be read.", {"Allow": ", ".join(METHODS)})
WRONG_TOKEN_METHOD = error_answer(405, "MethodNotAllowed", "Tokens are requested with POST.", {"Allow": "POST"})
WRONG_CLIENT = Answer(401, {"error": "invalid_client"}, {"WWW-Authenticate": "Basic"})  # RFC 6749 section 5.2
SEVERAL_CONDITIONS = error_answer(400, "InvalidRequest", "Header If-None-Match was found more than once.")


@lru_cache(maxsize=1024)
def read_path(path: str, prefix: str) -> OperationRef | None:
    """Return the operation that a raw request path below `prefix` names, or None for any other path."""
    path = path.partition("?")[0]
    rest = path.removeprefix(prefix)
    if not path.startswith(prefix) or not _OPERATION_PATH.fullmatch(rest):
        return None
    try:
        return OperationRef.from_url(rest)
    except ValueError:  # not UTF-8, or an invalid id
        return None


def read_bearer(authorization: str) -> str | None:
    """Return the token of an Authorization header, or None for another scheme (RFC 6750 section 2.1)."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def read_basic(authorization: str) -> tuple[str, str] | None:
    """Return the client id and secret of an Authorization header, or None for anything else (RFC 6749 2.3.1)."""
    scheme, _, encoded = authorization.partition(" ")
    try:
        client_id, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except ValueError:  # not base64, or not UTF-8
        return None
    return (unquote_plus(client_id), unquote_plus(secret)) if scheme.lower() == "basic" else None


def matches(if_none_match: str | None, etag: str | None) -> bool:
    """Return True if the condition matches `etag`: a list, compared weakly, or `*` (RFC 9110 section 13.1.2).

    A malformed list is read as nginx reads it: every comma ends a tag.
    """
    condition = (if_none_match or "").strip()
    if condition == "*" or etag is None:
        return condition == "*"
    tag = re.escape(etag.removeprefix("W/"))
    return re.search(rf"(?:^|,)[ \t]*(?:W/)?{tag}[ \t]*(?:,|$)", condition) is not None


@define(eq=False)
class WindowCounter:
    """A count of the requests in the current window; windows start at multiples of their length."""

    _window: tuple[float, float] = field(init=False, default=(0.0, 0.0))
    _count: int = field(init=False, default=0)

    def count(self, now: float, calls: int, length: float) -> float | None:
        """Count one request and return None, or return the seconds until the next window once `calls` are counted."""
        start = now // length * length
        if self._window != (start, length):
            self._window, self._count = (start, length), 0
        if self._count < calls:
            self._count += 1
            return None
        return max(math.ceil(start + length - now), 1)
