"""The service that a command asks: a session with the proxies and certificates of the environment."""

import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import click
from attrs import field, frozen

from schedules_async import RetryPolicy, SchedulesSession
from schedules_async.cli.identity import Identity
from schedules_async.events import Hook

_CERTIFICATES = "SSL_CERT_FILE"
_KEEPALIVE = 60.0  # seconds; longer than the usual interval between two polls, so that they share a connection


@frozen
class Service:
    """The service that a command asks, the identity that it uses, and how it retries."""

    identity: Identity
    base_url: str
    retry: RetryPolicy = field(factory=RetryPolicy)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no output may contain."""
        return (self.identity.secret,)

    @asynccontextmanager
    async def open(self, *hooks: Hook) -> AsyncIterator[SchedulesSession]:
        """Open a session; raise ValueError if the base URL or the token is unusable.

        Its requests and those for tokens go through HTTPS_PROXY, except to the hosts in NO_PROXY.
        """
        connector = aiohttp.TCPConnector(ssl=make_ssl_context(), keepalive_timeout=_KEEPALIVE)
        async with aiohttp.ClientSession(connector=connector, trust_env=True) as http:
            auth = self.identity.make_auth(http)
            async with SchedulesSession(
                auth, base_url=self.base_url, retry=self.retry, http=http, hooks=hooks
            ) as session:
                yield session


def make_ssl_context() -> ssl.SSLContext:
    """Return a context with the certificates of SSL_CERT_FILE, or else the system's; a usage error if unreadable."""
    path = os.environ.get(_CERTIFICATES) or None
    try:
        return ssl.create_default_context(cafile=path)
    except ssl.SSLError as error:
        raise click.UsageError(f"The file {path} of ${_CERTIFICATES} contains no certificates.") from error
    except OSError as error:
        raise click.UsageError(f"The file {path} of ${_CERTIFICATES} cannot be read: {error.strerror}.") from error
