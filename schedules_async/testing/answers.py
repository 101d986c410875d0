"""Answers of the fake server as frozen values: those of the service's contract, and malformed or missing ones."""

import json
import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Literal

from attrs import field, frozen

from schedules_async._clock import Seconds, to_seconds
from schedules_async._operations.ref import OperationRef

MEDIA_TYPE = "application/vnd.bentley.itwin-platform.v1+json"
OPERATION_ID = "{operation_id}"
START_OF_TIME = "2026-01-01T00:00:00Z"

_RATE_LIMITED = {
    "ITwinPlatform-RateLimited-Tier": "Community",
    "ITwinPlatform-RateLimited-API": "Schedules",
    "ITwinPlatform-RateLimited-Operation": "GetOperation",
    "ITwinPlatform-RateLimited-Application": "schedules-async",
}

# An HTTP response; or the body as raw bytes, then the end of the connection, nothing more, or a reset.
Delivery = Literal["http", "close", "stall", "reset"]
Headers = Mapping[str, str | None] | Iterable[tuple[str, str | None]]


def _to_pairs(headers: Headers) -> tuple[tuple[str, str], ...]:
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return tuple((name, value) for name, value in pairs if value is not None)


def _to_bytes(body: bytes | Mapping[str, object] | None) -> bytes:
    if isinstance(body, bytes):
        return body
    return b"" if body is None else json.dumps(body).encode()


@frozen
class Answer:
    """One answer of a scripted operation.

    A mapping as `body` is sent as JSON; `{operation_id}` in a body is replaced by the operation's id. `headers`
    is a mapping, or an iterable of pairs if a field occurs more than once; a field of None is left out. Missing
    `Date`, `Content-Length` and, for an answer with a body, `Content-Type` fields are added. `delay` is the time
    before the first byte, in seconds of the server's clock. If `is_conditional` is true, a request whose
    `If-None-Match` matches the answer's ETag is answered with 304; otherwise the answer is always sent as it is.
    """

    status: int = 200
    body: bytes = field(default=b"", converter=_to_bytes)
    headers: tuple[tuple[str, str], ...] = field(default=(), converter=_to_pairs)
    delay: float = field(default=0.0, converter=to_seconds, kw_only=True)
    is_conditional: bool = field(default=False, kw_only=True)
    delivery: Delivery = field(default="http", kw_only=True)

    @property
    def etag(self) -> str | None:
        """The value of the first ETag field, or None."""
        return next((value for name, value in self.headers if name.lower() == "etag"), None)


def fill_in_id(body: bytes, ref: OperationRef | None) -> bytes:
    """Return the body with the operation's id in place of `{operation_id}`."""
    return body.replace(OPERATION_ID.encode(), json.dumps("" if ref is None else ref.operation_id)[1:-1].encode())


def error_answer(
    status: int, code: str, message: str, headers: Headers = (), *, delay: Seconds = 0.0, **details: str
) -> Answer:
    """Return an error answer of the platform; `details` are further fields of the error."""
    return Answer(status, {"error": {"code": code, "message": message, **details}}, headers, delay=delay)


def operation_answer(
    status: str,
    *,
    percent_complete: float | None = None,
    etag: str | None = None,
    sub_status: str | None = None,
    failure_description: str | None = None,
    created_at: str | datetime | None = START_OF_TIME,
    updated_at: str | datetime | None = START_OF_TIME,
    delay: Seconds = 0.0,
    is_conditional: bool = False,
) -> Answer:
    """Return a 200 answer with an operation in the given status.

    `percent_complete` defaults to 100 for Succeeded and to 0 otherwise. `etag` is sent unchanged.

    >>> import json
    >>> answer = operation_answer("Succeeded", etag='W/"1"')
    >>> answer.status, answer.etag, json.loads(answer.body)["operation"]["percentComplete"]
    (200, 'W/"1"', 100.0)
    """
    if percent_complete is None:
        percent_complete = 100.0 if status == "Succeeded" else 0.0
    created, updated = (date.isoformat() if isinstance(date, datetime) else date for date in (created_at, updated_at))
    operation = {
        "createdAt": created,
        "failureDescription": failure_description,
        "id": OPERATION_ID,
        "percentComplete": percent_complete,
        "status": status,
        "subStatus": sub_status,
        "updatedAt": updated,
    }
    return Answer(200, {"operation": operation}, {"ETag": etag}, delay=delay, is_conditional=is_conditional)


def not_modified(etag: str | None = None, *, delay: Seconds = 0.0) -> Answer:
    """Return a 304 answer, sent whether or not the request is conditional; without `etag` it has no ETag field."""
    return Answer(304, headers={"ETag": etag}, delay=delay)


def _to_retry_after(value: Seconds | str | None) -> str | None:
    """Return the header's value: a number is rounded up to whole seconds, as the service sends it."""
    return value if value is None or isinstance(value, str) else str(math.ceil(to_seconds(value)))


def throttled(retry_after: Seconds | str | None = 1.0, *, delay: Seconds = 0.0) -> Answer:
    """Return a 429 answer with the platform's rate limit headers.

    `retry_after` is a number of seconds, rounded up to a whole one, or text that is sent unchanged; None leaves
    the field out.

    >>> [dict(throttled(seconds).headers).get("retry-after") for seconds in (1.5, "soon", None)]
    ['2', 'soon', None]
    """
    message = "The client sent more requests than allowed by this API for the current tier of the client."
    headers = {"retry-after": _to_retry_after(retry_after), **_RATE_LIMITED}
    return error_answer(429, "RateLimitExceeded", message, headers, delay=delay)


def fault(
    status: int = 500,
    *,
    retry_after: Seconds | str | None = None,
    correlation_id: str | None = "00000000-0000-4000-8000-000000000500",
    delay: Seconds = 0.0,
) -> Answer:
    """Return a server error as the platform's gateway sends it: plain text, a weak ETag and `x-correlation-id`."""
    headers = {
        "Content-Type": "text/plain; charset=utf-8",
        "ETag": 'W/"fault"',
        "x-correlation-id": correlation_id,
        "retry-after": _to_retry_after(retry_after),
    }
    return Answer(status, b"The service could not answer.", headers, delay=delay)


def reset(*, delay: Seconds = 0.0) -> Answer:
    """Return an answer that resets the connection before the first byte."""
    return Answer(delay=delay, delivery="reset")


def stall(*, delay: Seconds = 0.0) -> Answer:
    """Return an answer that never comes; the request ends when the client disconnects or the server closes."""
    return raw(b"", close=False, delay=delay)


def raw(data: bytes, *, close: bool = True, delay: Seconds = 0.0) -> Answer:
    """Return an answer that sends `data` as raw bytes in place of an HTTP response.

    The connection is closed afterwards; with `close=False` it stays open and nothing more is sent.
    """
    return Answer(body=data, delay=delay, delivery="close" if close else "stall")


def cut_body(*, delay: Seconds = 0.0) -> Answer:
    """Return an answer whose body is shorter than its `Content-Length`; then the connection is closed."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {MEDIA_TYPE}\r\nContent-Length: 1000\r\n\r\n"
    return raw(head.encode() + b'{"operation": {"id": "{operation_id}", ', delay=delay)
