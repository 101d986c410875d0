"""Bearer tokens: their providers, and the renewal of a rejected one, once for all requests.

A new source of tokens is a class with `get_token`, in a module of its own like `client_credentials.py`. Only if it has
a shorthand, as text is the shorthand of a fixed token, does `as_token_provider` need a branch.
"""

import asyncio
import contextvars
import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol, runtime_checkable

from attrs import define, field

from schedules_async._auth.bearer_token import BearerToken, to_bearer_token
from schedules_async._auth.client_credentials import ClientCredentials
from schedules_async._auth.single_flight import SingleFlight
from schedules_async._hooks import Hooks
from schedules_async.errors import AuthenticationError
from schedules_async.events import TokenRenewed

LONGEST_TOKEN_ATTEMPT = 30.0  # seconds


@runtime_checkable
class TokenProvider(Protocol):
    """A provider of bearer tokens, asked before each request; one provider may serve several sessions.

    It stores its token itself, may be called by many requests at once, and has 30 seconds for each call. An exception
    that it raises becomes an AuthenticationError; a result that is not a usable token raises ValueError or TypeError.
    """

    async def get_token(self, *, rejected: str | None = None) -> str:
        """Return the bare token; `rejected` is the token that just met a 401."""


@define(eq=False, repr=False)
class TokenFunction:
    """The caller's function, called before each request; it may be async."""

    _function: Callable[[], Awaitable[str] | str]

    async def get_token(self, *, rejected: str | None = None) -> str:
        """Call the function."""
        del rejected
        token = self._function()
        return await token if inspect.isawaitable(token) else token


Auth = str | Callable[[], Awaitable[str] | str] | TokenProvider


def as_token_provider(auth: Auth) -> TokenProvider:
    """Return the provider that `auth` stands for; raise TypeError for other types, ValueError for a bad token."""
    if isinstance(auth, str):
        return _checked(to_bearer_token(auth))
    if isinstance(auth, TokenProvider) and not isinstance(auth, type):
        return auth
    if callable(auth):
        return TokenFunction(auth)
    raise TypeError(f"auth must be a token, a function or a TokenProvider, not {type(auth).__name__}")


async def request_token(provider: TokenProvider, rejected: BearerToken | None = None) -> BearerToken:
    """Return a usable token within 30 seconds; an exception of the provider becomes an AuthenticationError."""
    try:
        async with asyncio.timeout(LONGEST_TOKEN_ATTEMPT):
            result = to_bearer_token(await provider.get_token(rejected=None if rejected is None else rejected.text))
    except AuthenticationError:
        raise
    except (Exception, asyncio.CancelledError) as error:
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and (task is None or task.cancelling()):
            raise  # otherwise something that the provider awaited was cancelled, not this request
        raise AuthenticationError(f"no token could be obtained: {type(error).__name__}") from error
    return _checked(result)


def _checked(token: BearerToken | Exception) -> BearerToken:
    if isinstance(token, Exception):
        raise token
    return token


@define(eq=False, repr=False)
class Tokens:
    """The tokens of one session: a token that meets a 401 in many requests at once is renewed once."""

    _provider: TokenProvider
    _hooks: Hooks
    _context: contextvars.Context
    _newest: BearerToken | None = field(init=False, default=None)
    _renewals: dict[BearerToken, SingleFlight[BearerToken]] = field(init=False, factory=dict)

    @property
    def is_fixed(self) -> bool:
        """True if there is only one token, so that a rejected one cannot be renewed."""
        return isinstance(self._provider, BearerToken)

    async def get(self) -> BearerToken:
        """Return the token for a request that leaves now."""
        if isinstance(self._provider, BearerToken):
            return self._provider
        return self._note(await request_token(self._provider))

    async def renew(self, rejected: BearerToken) -> BearerToken:
        """Return another token for one that met a 401; the same one if the provider has no other."""
        if rejected != self._newest:  # another request may have met a 401 earlier and renewed the token
            token = await self.get()
            if token != rejected:
                return token
        renewal = SingleFlight(partial(self._replace, rejected), self._context.copy())
        return await self._renewals.setdefault(rejected, renewal).result()

    async def _replace(self, rejected: BearerToken) -> BearerToken:
        try:
            return self._note(await request_token(self._provider, rejected), was_rejected=True)
        finally:
            self._renewals.pop(rejected, None)

    def _note(self, token: BearerToken, *, was_rejected: bool = False) -> BearerToken:
        before, self._newest = self._newest, token
        if before is not None and before != token:
            self._hooks.emit(TokenRenewed(was_rejected))
        return token

    async def aclose(self) -> None:
        """End a renewal of client credentials that no caller waits for; other providers are left alone."""
        if isinstance(self._provider, ClientCredentials):
            await self._provider.aclose_idle()
