"""The session of a command, with the proxies and certificates of the environment."""

import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import click

from schedules_async import RetryPolicy, SchedulesSession
from schedules_async._auth.variables import CLIENT_SECRET, TOKEN, read_auth
from schedules_async.events import Hook

_CERTIFICATES = "SSL_CERT_FILE"
_KEEPALIVE = 60.0  # seconds; longer than the usual interval between two polls, so that they share a connection


def find_secrets(token: str | None) -> tuple[str, ...]:
    """Return the texts that no output may contain: the token, and those of the environment."""
    found = (token, os.environ.get(TOKEN, "").strip(), os.environ.get(CLIENT_SECRET))
    return tuple(secret for secret in found if secret)


@asynccontextmanager
async def open_session(
    base_url: str, token: str | None, retry: RetryPolicy, *hooks: Hook
) -> AsyncIterator[SchedulesSession]:
    """Open a session; raise ValueError or a usage error if the base URL or the credentials are unusable.

    `token` is that of `--token-file`, if any. The requests of the session, including those for tokens, use HTTPS_PROXY
    unless the host is in NO_PROXY.
    """
    connector = aiohttp.TCPConnector(ssl=make_ssl_context(), keepalive_timeout=_KEEPALIVE)
    async with aiohttp.ClientSession(connector=connector, trust_env=True) as http:
        try:
            auth = token or read_auth(os.environ, base_url, http)
        except ValueError as error:
            raise click.UsageError(f"{error} (see also --token-file)") from error
        async with SchedulesSession(auth, base_url=base_url, retry=retry, http=http, hooks=hooks) as session:
            yield session


def make_ssl_context() -> ssl.SSLContext:
    """Return a context with the certificates of SSL_CERT_FILE or the system; raise a usage error if unreadable."""
    path = os.environ.get(_CERTIFICATES) or None
    try:
        return ssl.create_default_context(cafile=path)
    except ssl.SSLError as error:
        raise click.UsageError(f"The file {path} of ${_CERTIFICATES} contains no certificates.") from error
    except OSError as error:
        raise click.UsageError(f"The file {path} of ${_CERTIFICATES} cannot be read: {error.strerror}.") from error
