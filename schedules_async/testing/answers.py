"""What a fake server answers, as frozen values: the contract's answers, and every way to break them."""

import json
import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import Enum, auto

from attrs import field, frozen

MEDIA_TYPE = "application/vnd.bentley.itwin-platform.v1+json"
OPERATION_ID = "{operation_id}"
START_OF_TIME = "2026-01-01T00:00:00Z"

_PERCENTS = {"Succeeded": 100.0}
_RATE_LIMITED = {
    "ITwinPlatform-RateLimited-Tier": "Community",
    "ITwinPlatform-RateLimited-API": "Schedules",
    "ITwinPlatform-RateLimited-Operation": "GetOperation",
    "ITwinPlatform-RateLimited-Application": "schedules-async",
}

Headers = Mapping[str, str] | Iterable[tuple[str, str]]


class Delivery(Enum):
    """How an answer reaches the client."""

    WHOLE = auto()  # as HTTP
    RAW = auto()  # the body alone, as bytes on the wire, then the connection closes
    FRAGMENT = auto()  # the body alone, as bytes on the wire, then silence
    RESET = auto()  # nothing: the connection is reset
    STALL = auto()  # nothing: the client waits until it leaves or the server closes


def _to_pairs(headers: Headers) -> tuple[tuple[str, str], ...]:
    return tuple(headers.items() if isinstance(headers, Mapping) else headers)


def _to_bytes(body: bytes | Mapping[str, object] | None) -> bytes:
    if isinstance(body, bytes):
        return body
    return b"" if body is None else json.dumps(body).encode()


@frozen
class Answer:
    """One answer of a scripted operation.

    A mapping as `body` is sent as JSON, and `{operation_id}` in a body stands for the operation's id.
    `headers` is a mapping, or pairs where a field comes twice; `Date`, `Content-Length` and, with a body, the
    vendor's media type are added where they are missing. `delay` counts seconds of the server's clock before
    the first byte. With `is_conditional` an `If-None-Match` that holds turns the answer into a 304; without
    it the answer is sent to the letter.
    """

    status: int = 200
    body: bytes = field(default=b"", converter=_to_bytes)
    headers: tuple[tuple[str, str], ...] = field(default=(), converter=_to_pairs)
    delay: float = field(default=0.0, kw_only=True)
    is_conditional: bool = field(default=False, kw_only=True)
    delivery: Delivery = field(default=Delivery.WHOLE, kw_only=True)

    @property
    def etag(self) -> str | None:
        """Give the first ETag field as it stands."""
        return next((value for name, value in self.headers if name.lower() == "etag"), None)


def error_body(code: str, message: str, target: str | None = None) -> dict[str, object]:
    """Give the contract's envelope of an error; `target` only where there is one."""
    about = {"target": target} if target else {}
    return {"error": {"code": code, "message": message, **about}}


def operation_answer(
    status: str,
    *,
    percent_complete: float | None = None,
    etag: str | None = None,
    sub_status: str | None = None,
    failure_description: str | None = None,
    created_at: str | datetime | None = START_OF_TIME,
    updated_at: str | datetime | None = START_OF_TIME,
    delay: float = 0.0,
    is_conditional: bool = False,
) -> Answer:
    """Answer 200 with the operation, 100 percent by default if Succeeded, else 0; `etag` is sent as it stands.

    >>> answer = operation_answer("Succeeded", etag='W/"1"')
    >>> answer.status, answer.etag, json.loads(answer.body)["operation"]["percentComplete"]
    (200, 'W/"1"', 100.0)
    """
    operation = {
        "createdAt": _to_timestamp(created_at),
        "failureDescription": failure_description,
        "id": OPERATION_ID,
        "percentComplete": _PERCENTS.get(status, 0.0) if percent_complete is None else percent_complete,
        "status": status,
        "subStatus": sub_status,
        "updatedAt": _to_timestamp(updated_at),
    }
    return Answer(200, {"operation": operation}, _tag(etag), delay=delay, is_conditional=is_conditional)


def _tag(etag: str | None) -> dict[str, str]:
    return {} if etag is None else {"ETag": etag}


def _to_timestamp(value: str | datetime | None) -> str | None:
    return value.isoformat() if isinstance(value, datetime) else value


def not_modified(etag: str | None = None, *, delay: float = 0.0) -> Answer:
    """Answer 304 whatever the request carried; no ETag field unless one is given."""
    return Answer(304, None, _tag(etag), delay=delay)


def _retry_after(value: float | str | None) -> dict[str, str]:
    """Write the header as the contract does, in whole seconds; text stands as it is."""
    if value is None:
        return {}
    return {"retry-after": value if isinstance(value, str) else str(math.ceil(value))}


def throttled(retry_after: float | str | None = 1.0, *, delay: float = 0.0) -> Answer:
    """Answer 429 with the platform's headers; seconds are rounded up, text is sent as it is, None leaves it out.

    >>> [dict(throttled(seconds).headers).get("retry-after") for seconds in (1.5, "soon", None)]
    ['2', 'soon', None]
    """
    message = "The client sent more requests than allowed by this API for the current tier of the client."
    headers = {**_retry_after(retry_after), **_RATE_LIMITED}
    return Answer(429, error_body("RateLimitExceeded", message), headers, delay=delay)


def fault(
    status: int = 500,
    *,
    retry_after: float | str | None = None,
    correlation_id: str | None = "00000000-0000-4000-8000-000000000500",
    delay: float = 0.0,
) -> Answer:
    """Answer as the platform's gateway does when it fails: plain text, a weak ETag, `x-correlation-id`."""
    about = {} if correlation_id is None else {"x-correlation-id": correlation_id}
    headers = {"Content-Type": "text/plain; charset=utf-8", "ETag": 'W/"fault"', **about, **_retry_after(retry_after)}
    return Answer(status, b"The service could not answer.", headers, delay=delay)


def reset(*, delay: float = 0.0) -> Answer:
    """Reset the connection before any byte of an answer."""
    return Answer(delay=delay, delivery=Delivery.RESET)


def stall(*, delay: float = 0.0) -> Answer:
    """Never answer: the request ends when the client leaves or the server closes."""
    return Answer(delay=delay, delivery=Delivery.STALL)


def raw(data: bytes, *, close: bool = True, delay: float = 0.0) -> Answer:
    """Put bytes on the wire in place of an answer, then close the connection, or fall silent with `close=False`."""
    return Answer(body=data, delay=delay, delivery=Delivery.RAW if close else Delivery.FRAGMENT)


def cut_body(*, delay: float = 0.0) -> Answer:
    """Announce more of a body than comes, then close the connection."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {MEDIA_TYPE}\r\nContent-Length: 1000\r\n\r\n"
    return raw(head.encode() + b'{"operation": {"id": "{operation_id}", ', delay=delay)
