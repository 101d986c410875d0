"""The errors that this library raises for what the service, the network or an operation did.

```text
SchedulesError                 .ref (None where no operation is concerned)
├── TransportError             no complete answer: refused, reset, TLS, DNS, cut off, timed out, bytes that are not HTTP
├── MalformedResponseError     an answer that breaks the contract (too large, not JSON, wrong types, another operation)
├── ResponseError              an HTTP error: .status .code .message .target .details .retry_after .correlation_id
│   ├── AuthenticationError    401, or no token could be had
│   ├── PermissionDeniedError  403
│   ├── NotFoundError          404
│   ├── RateLimitedError       429, also .limits: the ITwinPlatform-RateLimited-* headers
│   └── ServerError            5xx
├── SessionClosedError
├── WaitError                  .operation (last snapshot or None)
│   ├── OperationFailedError
│   ├── OperationTimeoutError  also a TimeoutError
│   └── OperationStalledError
└── OperationGroupError        also an ExceptionGroup: .exceptions .errors .operations
```

Each takes its message as the only positional argument (a group also takes its exceptions) and carries its facts as
attributes, so that copies and pickles keep them. The caller's own mistakes raise ValueError or TypeError.

>>> import pickle
>>> error = NotFoundError("404 OperationNotFound", status=404, code="OperationNotFound", correlation_id="8fb5dbdc")
>>> twin = pickle.loads(pickle.dumps(error))
>>> twin, twin.status, twin.code, twin.correlation_id
(NotFoundError('404 OperationNotFound'), 404, 'OperationNotFound', '8fb5dbdc')
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from attrs import frozen

from schedules_async._operations.base_errors import MalformedResponseError, SchedulesError
from schedules_async._operations.operation import Operation
from schedules_async._operations.ref import OperationRef

__all__ = [
    "AuthenticationError",
    "ErrorDetail",
    "MalformedResponseError",
    "NotFoundError",
    "OperationFailedError",
    "OperationGroupError",
    "OperationStalledError",
    "OperationTimeoutError",
    "PermissionDeniedError",
    "RateLimitedError",
    "ResponseError",
    "SchedulesError",
    "ServerError",
    "SessionClosedError",
    "TransportError",
    "WaitError",
]

_TRANSIENT_STATUSES = frozenset({408, 500, 502, 503, 504})


@dataclass(eq=False, repr=False, kw_only=True)
class TransportError(SchedulesError):
    """No complete answer came: refused, reset, TLS, DNS, cut off, timed out, or bytes that are not HTTP.

    `is_transient` is False if another attempt would be pointless and none is made: the server's certificate is not
    trusted, or the borrowed aiohttp session was closed.
    """

    is_transient: bool = True


@frozen
class ErrorDetail:
    """One entry of an error's `details`; a field is None if the service did not send text for it."""

    code: str | None = None
    message: str | None = None
    target: str | None = None


@dataclass(eq=False, repr=False, kw_only=True)
class ResponseError(SchedulesError):
    """An HTTP error, with the facts of the answer.

    `status` is None if there was no answer (no token could be obtained). `code`, `message` and `target` are None
    and `details` is empty if the body breaks the contract; `retry_after` is in seconds. `is_transient` is True for
    408, 500, 502, 503 and 504, which are retried; `is_throttling` for an answer that pauses the whole session: a
    429, or a 503 with Retry-After. `limits` holds the ITwinPlatform-RateLimited-* headers by name.
    """

    status: int | None = None
    code: str | None = None
    message: str | None = None
    target: str | None = None
    details: tuple[ErrorDetail, ...] = ()
    retry_after: float | None = None
    correlation_id: str | None = None
    limits: dict[str, str] = field(default_factory=dict)

    def __post_init__(self, text: str) -> None:
        super().__post_init__(text)
        self.limits = dict(self.limits or {})
        self.is_transient: bool = self.status in _TRANSIENT_STATUSES
        self.is_throttling: bool = self.status == 429 or (self.status == 503 and self.retry_after is not None)


class AuthenticationError(ResponseError):
    """401: the token was rejected; or no token could be obtained, and `status` is None.

    `is_transient` is True if the identity server of client credentials is unavailable; a wait that has a snapshot then
    goes on for as long as in an outage of the API.
    """


class PermissionDeniedError(ResponseError):
    """403: the token is valid and does not allow this."""


class NotFoundError(ResponseError):
    """404: the operation or the schedule is not available."""


class RateLimitedError(ResponseError):
    """429; it is raised if the pause is longer than the policy allows (`max_retry_after`).

    A 503 with Retry-After pauses the session too, and is then raised as a ServerError.
    """


class ServerError(ResponseError):
    """5xx, or a status that HTTP does not have (above 599)."""


class SessionClosedError(SchedulesError):
    """The session was closed, before the call or while it was pending."""


@dataclass(eq=False, repr=False, kw_only=True)
class WaitError(SchedulesError):
    """A wait that did not end in `Succeeded`; `operation` is its last snapshot, or None."""

    operation: Operation | None = None


class OperationFailedError(WaitError):
    """The operation ended as `Failed`; `operation.failure_description` may say why."""


class OperationTimeoutError(WaitError, TimeoutError):
    """The wait's own `timeout` passed; the operation goes on.

    >>> issubclass(OperationTimeoutError, TimeoutError)
    True
    """


class OperationStalledError(WaitError):
    """The operation did not change for `stall_timeout`; it may still go on."""


class OperationGroupError(SchedulesError, ExceptionGroup[Exception]):
    """Some operations of a group did not succeed.

    `exceptions` holds one exception for each of them, and `errors` maps the operation's ref to it. `operations` maps
    refs to the newest snapshots of all operations of the group, including those that succeeded. The groups that
    `except*`, `split` and `subgroup` make are OperationGroupErrors too, with the `errors` of their own exceptions.

    >>> ref = OperationRef("schedule", "operation")
    >>> other = OperationRef("schedule", "other")
    >>> group = OperationGroupError("2 of 9", [NotFoundError("404", ref=ref), TransportError("reset", ref=other)])
    >>> group.errors[other]
    TransportError('reset')
    >>> lost, rest = group.split(NotFoundError)
    >>> lost
    OperationGroupError('2 of 9', [NotFoundError('404')])
    >>> [str(ref) for ref in lost.errors]
    ['schedule/operation']
    """

    def __init__(
        self,
        message: str,
        exceptions: Sequence[Exception],
        *,
        errors: Mapping[OperationRef, Exception] | None = None,
        operations: Mapping[OperationRef, Operation] | None = None,
    ) -> None:
        ExceptionGroup.__init__(self, message, exceptions)
        refs = {id(error): ref for ref, error in (errors or {}).items()}  # of those that have none of their own
        named = ((refs.get(id(error), getattr(error, "ref", None)), error) for error in self.exceptions)
        self.errors: dict[OperationRef, Exception] = {ref: one for ref, one in named if isinstance(ref, OperationRef)}
        self.operations: dict[OperationRef, Operation] = dict(operations or {})

    def derive(self, excs: Sequence[Any], /) -> Any:
        """Return the group that `split`, `subgroup` and `except*` make of some of the exceptions."""
        return OperationGroupError(self.message, excs, errors=self.errors, operations=self.operations)
