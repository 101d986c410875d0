"""Wait for long-running operations of Bentley's iTwin Platform from asyncio."""

from schedules_async.auth import TokenProvider
from schedules_async.clock import Clock
from schedules_async.credentials import ClientCredentials
from schedules_async.environments import DEV, PRODUCTION, QA, Environment
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
from schedules_async.models import Operation, OperationStatus
from schedules_async.pacing import COMMUNITY_TIER, STANDARD_TIER, RateLimit
from schedules_async.polling import PollingPolicy, TimeRemaining
from schedules_async.refs import OperationRef
from schedules_async.retrying import RetryPolicy
from schedules_async.session import SchedulesSession
from schedules_async.stats import SessionStats
from schedules_async.version import __version__
from schedules_async.waiting import OperationGroupWaiter, OperationWaiter

__all__ = [
    "COMMUNITY_TIER",
    "DEV",
    "PRODUCTION",
    "QA",
    "STANDARD_TIER",
    "AuthenticationError",
    "ClientCredentials",
    "Clock",
    "Environment",
    "MalformedResponseError",
    "NotFoundError",
    "Operation",
    "OperationFailedError",
    "OperationGroupError",
    "OperationGroupWaiter",
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
