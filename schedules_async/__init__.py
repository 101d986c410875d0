"""Wait for long-running operations of Bentley's iTwin Platform from asyncio."""

from schedules_async._auth.client_credentials import ClientCredentials
from schedules_async._auth.environments import DEV, PRODUCTION, QA, Environment
from schedules_async._auth.tokens import TokenProvider
from schedules_async._clock import Clock
from schedules_async._exports import name_exports
from schedules_async._http.retry import RetryPolicy
from schedules_async._operations.operation import Operation, OperationStatus
from schedules_async._operations.ref import OperationRef
from schedules_async._polling.forecast import TimeRemaining
from schedules_async._polling.policy import PollingPolicy
from schedules_async._session import SchedulesSession
from schedules_async._stats import SessionStats
from schedules_async._throttling.rate_limiter import COMMUNITY_TIER, STANDARD_TIER, RateLimit
from schedules_async._version import __version__
from schedules_async._waiters.checkpoint_file import CheckpointFile
from schedules_async._waiters.waiter import GroupWaiter, OperationGroupWaiter, OperationProgress, OperationWaiter
from schedules_async.errors import (
    AuthenticationError,
    MalformedResponseError,
    NotFoundError,
    OperationFailedError,
    OperationGroupError,
    OperationStalledError,
    OperationTimeoutError,
    PermissionDeniedError,
    RateLimitedError,
    ResponseError,
    SchedulesError,
    ServerError,
    SessionClosedError,
    TransportError,
    WaitError,
)

__all__ = [
    "COMMUNITY_TIER",
    "DEV",
    "PRODUCTION",
    "QA",
    "STANDARD_TIER",
    "AuthenticationError",
    "CheckpointFile",
    "ClientCredentials",
    "Clock",
    "Environment",
    "GroupWaiter",
    "MalformedResponseError",
    "NotFoundError",
    "Operation",
    "OperationFailedError",
    "OperationGroupError",
    "OperationGroupWaiter",
    "OperationProgress",
    "OperationRef",
    "OperationStalledError",
    "OperationStatus",
    "OperationTimeoutError",
    "OperationWaiter",
    "PermissionDeniedError",
    "PollingPolicy",
    "RateLimit",
    "RateLimitedError",
    "ResponseError",
    "RetryPolicy",
    "SchedulesError",
    "SchedulesSession",
    "ServerError",
    "SessionClosedError",
    "SessionStats",
    "TimeRemaining",
    "TokenProvider",
    "TransportError",
    "WaitError",
    "__version__",
]

name_exports(__name__, globals(), __all__)
