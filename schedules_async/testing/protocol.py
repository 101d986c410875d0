"""The rules of the contract that do not depend on an operation: paths, tags, refusals. Pure."""

import hashlib
import re

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


def read_path(path: str, prefix: str) -> OperationRef | None:
    """Give the operation that a raw request path names below `prefix`, None for any other path."""
    path = path.partition("?")[0]
    rest = path.removeprefix(prefix)
    if not path.startswith(prefix) or not _OPERATION_PATH.fullmatch(rest):
        return None
    try:
        return OperationRef.from_url(rest)
    except ValueError:  # not UTF-8, or an id that names no operation
        return None


def read_bearer(authorization: str) -> str | None:
    """Give the token of an Authorization header, None for another scheme (RFC 6750 section 2.1)."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def tag_of(body: bytes) -> str:
    """Make the strong ETag of a representation: equal for equal bytes alone."""
    return f'"{hashlib.sha256(body).hexdigest()[:16]}"'


def is_held(if_none_match: str | None, etag: str | None) -> bool:
    """Tell whether the client holds what `etag` names: weak comparison, lists and a lone `*` (RFC 9110 section 13.1.2).

    Malformed lists read as they do in nginx, which takes every comma for the end of a tag that is not its own.
    """
    condition = (if_none_match or "").strip()
    if condition == "*" or etag is None:
        return condition == "*"
    tag = re.escape(etag.removeprefix("W/"))
    return re.search(rf"(?:^|,)[ \t]*(?:W/)?{tag}[ \t]*(?:,|$)", condition) is not None
