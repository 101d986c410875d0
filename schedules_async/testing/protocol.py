"""Rules of the service's HTTP contract that do not depend on an operation: paths, tokens, tags, errors. Pure."""

import hashlib
import re
from functools import lru_cache

from schedules_async._operations.ref import OperationRef
from schedules_async.testing.answers import Answer, error_body

METHODS = ("GET", "HEAD")

_OPERATION_PATH = re.compile(r"/schedules/[^/]+/operations/[^/]+")

NO_TOKEN = Answer(
    401,
    error_body("HeaderNotFound", "Header Authorization was not found in the request. Access denied."),
    {"WWW-Authenticate": "Bearer"},
)
WRONG_TOKEN = Answer(
    401,
    error_body("InvalidToken", "The access token is not valid. Access denied."),
    {"WWW-Authenticate": 'Bearer error="invalid_token"'},
)
NO_OPERATION = Answer(404, error_body("OperationNotFound", "Requested Operation is not available.", "operationId"))
NO_RESOURCE = Answer(404, error_body("ResourceNotFound", "Requested resource is not available."))
WRONG_METHOD = Answer(
    405, error_body("MethodNotAllowed", "The resource can only be read."), {"Allow": ", ".join(METHODS)}
)
SEVERAL_CONDITIONS = Answer(400, error_body("InvalidRequest", "Header If-None-Match was found more than once."))


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


def make_etag(body: bytes) -> str:
    """Return a strong ETag of a representation, equal only for equal bytes."""
    return f'"{hashlib.sha256(body).hexdigest()[:16]}"'


def matches(if_none_match: str | None, etag: str | None) -> bool:
    """Return True if the condition matches `etag`: a list, compared weakly, or `*` (RFC 9110 section 13.1.2).

    A malformed list is read as nginx reads it: every comma ends a tag.
    """
    condition = (if_none_match or "").strip()
    if condition == "*" or etag is None:
        return condition == "*"
    tag = re.escape(etag.removeprefix("W/"))
    return re.search(rf"(?:^|,)[ \t]*(?:W/)?{tag}[ \t]*(?:,|$)", condition) is not None
