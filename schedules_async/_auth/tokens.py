"""Bearer tokens: their providers, and the renewal of a rejected one, once for all requests.

A new source of tokens is a class with `get_token`, in a module of its own like `client_credentials.py`, which shares
one request among callers with `SingleFlight`. Export it in `schedules_async/__init__.py`. `Tokens` needs a branch only
for a shorthand, as text is that of a fixed token, or for a renewal in the background.
"""

import asyncio
import contextvars
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, runtime_checkable

from schedules_async._auth.client_credentials import ClientCredentials
from schedules_async._auth.single_flight import SingleFlight
from schedules_async._hooks import Hooks
from schedules_async._http.responses import BearerToken
from schedules_async.errors import AuthenticationError
from schedules_async.events import TokenRenewed

LONGEST_TOKEN_ATTEMPT = 30.0  # seconds


@runtime_checkable
class TokenProvider(Protocol):
    """A provider of bearer tokens, called before each request; one provider may serve several sessions.

    It stores its token itself, may be called by many requests at once, and has 30 seconds for each call. An exception
    that it raises becomes an AuthenticationError; a result that is not a usable token raises ValueError or TypeError.
    """

    async def get_token(self, *, rejected: str | None = None) -> str:
        """Return the bare token; `rejected` is the token that just met a 401."""


Auth = str | Callable[[], Awaitable[str] | str] | TokenProvider


class Tokens:
    """The tokens of one session: a token that meets a 401 in many requests at once is renewed once.

    If `auth` is text, `fixed` is that token; otherwise it is None, and `get` is called before each request. Raise
    TypeError or ValueError if `auth` is unusable.
    """

    def __init__(self, auth: Auth, hooks: Hooks, context: contextvars.Context) -> None:
        if not isinstance(auth, str | TokenProvider) and not callable(auth):
            raise TypeError(f"auth must be a token, a function or a TokenProvider, not {type(auth).__name__}")
        self.fixed = BearerToken(auth).check() if isinstance(auth, str) else None
        self._source: Any = None if isinstance(auth, str) else auth  # a provider or a function
        self._hooks = hooks
        self._newest: BearerToken | None = None
        self._renewal = SingleFlight(self.get, context)

    async def get(self, rejected: BearerToken | None = None) -> BearerToken:
        """Return a usable token within 30 seconds; an exception of the provider becomes an AuthenticationError."""
        try:
            async with asyncio.timeout(LONGEST_TOKEN_ATTEMPT):
                token = BearerToken(await self._call_source(rejected))
        except (Exception, asyncio.CancelledError) as error:
            task = asyncio.current_task()
            is_cancelled = isinstance(error, asyncio.CancelledError) and (task is None or task.cancelling())
            if is_cancelled or isinstance(error, AuthenticationError):
                raise
            # A CancelledError too, if not this task was cancelled but something that the provider awaited.
            raise AuthenticationError(f"no token could be obtained: {type(error).__name__}") from error
        before, self._newest = self._newest, token.check()
        if before is not None and before != token:
            self._hooks.emit(TokenRenewed(rejected is not None))
        return token

    async def renew(self, rejected: BearerToken) -> BearerToken:
        """Return another token for one that met a 401; the same one if the provider has no other."""
        if rejected != self._newest:  # another request may have met a 401 earlier and renewed the token
            token = await self.get()
            if token != rejected:
                return token
        return await self._renewal.result(rejected)

    async def _call_source(self, rejected: BearerToken | None) -> str:
        """Return the token of the provider, or of the function, which may be async."""
        if isinstance(self._source, TokenProvider) and not isinstance(self._source, type):
            return await self._source.get_token(rejected=None if rejected is None else rejected.text)
        token: Awaitable[str] | str = self._source()
        return await token if inspect.isawaitable(token) else token

    async def aclose(self) -> None:
        """End a renewal of client credentials that no caller waits for; other providers are left alone."""
        if isinstance(self._source, ClientCredentials):
            await self._source.aclose_idle()
