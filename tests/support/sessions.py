"""Options of the sessions that most tests use."""

from collections.abc import Callable

from schedules_async import PollingPolicy, RateLimit, SchedulesSession

EVERY_SECOND = PollingPolicy.fixed(1.0)
UNLIMITED = (RateLimit(1_000_000, 1),)

MakeSession = Callable[..., SchedulesSession]
