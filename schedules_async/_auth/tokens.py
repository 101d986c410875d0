"""Tokens: who gives them, and what is a usable one."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol, runtime_checkable

from attrs import define, field

from schedules_async._auth.single_flight import Shared
from schedules_async._hooks import Hooks
from schedules_async.errors import AuthenticationError
from schedules_async.events import TokenRenewed

LONGEST_TOKEN_ATTEMPT = 30.0  # seconds
_USABLE = re.compile(r"[\x21-\x7e]+")


@runtime_checkable
class TokenProvider(Protocol):
    """Gives the bearer token for each request."""

    async def get_token(self, *, rejected: str | None = None) -> str:
        """Give the bare token; `rejected` is the one that just met a 401."""


@define(eq=False, repr=False)
class FixedToken:
    """One token for ever."""

    token: str

    async def get_token(self, *, rejected: str | None = None) -> str:
        """Give the token, whatever was rejected."""
        del rejected
        return self.token


@define(eq=False, repr=False)
class CalledToken:
    """A token from the caller's function, which is asked before every request."""

    _function: Callable[[], Awaitable[str]]

    async def get_token(self, *, rejected: str | None = None) -> str:
        """Ask the function."""
        del rejected
        return await self._function()


def as_token_provider(auth: str | Callable[[], Awaitable[str]] | TokenProvider) -> TokenProvider:
    """Accept what a session takes as `auth`; TypeError for anything else, ValueError for an unusable token."""
    if isinstance(auth, str):
        return FixedToken(check_token(auth))
    if isinstance(auth, TokenProvider) and not isinstance(auth, type):
        return auth
    if callable(auth):
        return CalledToken(auth)
    raise TypeError(f"auth must be a token, an async function or a TokenProvider, not {type(auth).__name__}")


def check_token(token: object) -> str:
    """Give the token back if it can stand in a header (RFC 6750 section 2.1); the error does not show it."""
    if not isinstance(token, str):
        raise TypeError(f"a token is text, not {type(token).__name__}")
    if not _USABLE.fullmatch(token):
        raise ValueError("an unusable token: empty, or with a character outside 0x21-0x7E (give it without 'Bearer ')")
    return token


def _no_token(error: BaseException) -> AuthenticationError:
    return AuthenticationError(f"no token could be had: {type(error).__name__}")


async def ask_for_token(provider: TokenProvider, rejected: str | None = None) -> str:
    """Get a usable token within 30 seconds; what the provider raises becomes an AuthenticationError."""
    if isinstance(provider, FixedToken):
        return provider.token
    try:
        async with asyncio.timeout(LONGEST_TOKEN_ATTEMPT):
            token = await provider.get_token(rejected=rejected)
    except AuthenticationError:
        raise
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise _no_token(error) from error  # something that the provider waited for was cancelled, not this request
    except Exception as error:
        raise _no_token(error) from error
    finally:
        del rejected  # this frame stands in the error's traceback
    return check_token(token)


@define(eq=False, repr=False)
class Tokens:
    """The tokens of one session: a token that meets a 401 in many requests at once is renewed once."""

    _provider: TokenProvider
    _hooks: Hooks
    _newest: str | None = field(init=False, default=None)
    _renewals: dict[str, Shared[str]] = field(init=False, factory=dict)

    async def get(self) -> str:
        """Get the token for a request."""
        return self._take(await ask_for_token(self._provider))

    async def renew(self, rejected: str) -> str:
        """Get another token for one that met a 401; the same one where the provider has no other."""
        if rejected != self._newest:  # another request may have met the 401 before, and had it renewed
            token = await self.get()
            if token != rejected:
                return token
        renewal = self._renewals.setdefault(rejected, Shared(partial(self._replace, rejected)))
        return await renewal.result()

    async def _replace(self, rejected: str) -> str:
        try:
            return self._take(await ask_for_token(self._provider, rejected), was_rejected=True)
        finally:
            self._renewals.pop(rejected, None)

    def _take(self, token: str, *, was_rejected: bool = False) -> str:
        before, self._newest = self._newest, token
        if before is not None and before != token:
            self._hooks.tell(TokenRenewed(was_rejected))
        return token
