"""Tokens from client credentials: one request however many callers wait, and renewal before expiry.

This is the OAuth 2 client credentials grant (RFC 6749 section 4.4).
"""

import asyncio
import base64
import math
import random
import re
from urllib.parse import quote_plus

import aiohttp
from attrs import define
from yarl import URL

from schedules_async._auth.environments import DEV
from schedules_async._auth.single_flight import SingleFlight
from schedules_async._auth.token_response import read_grant, renewal_age, retry_delay
from schedules_async._clock import Clock, to_clock
from schedules_async._http.body import read_whole, to_transport_error
from schedules_async._http.borrowed import check_borrowed, find_proxy, open_client
from schedules_async._http.responses import COMMON_HEADERS
from schedules_async._http.urls import check_url
from schedules_async._operations.base_errors import copy_error
from schedules_async.errors import AuthenticationError, SchedulesError

ATTEMPT_TIMEOUT = 10.0  # seconds for one request; a session waits for a token for 30 seconds in all
_PATIENCE = 2.0  # seconds that a request with a valid token waits for a newer one
_RENEWAL_DELAY = 30.0  # seconds until a valid token is renewed again, after a failed or fruitless renewal
_PRINTABLE = re.compile(r"[\x20-\x7e]+")  # RFC 6749 appendix A.1, A.2
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+(?: [\x21\x23-\x5b\x5d-\x7e]+)*")  # RFC 6749 section 3.3


@define(eq=False, repr=False)
class _Token:
    """A token, and the readings of the clock at which it is renewed and at which it expires.

    Until `settled_until` a rejection causes no renewal: the identity server has just issued the same token again.
    """

    text: str
    renew_at: float
    ends_at: float
    settled_until: float = -math.inf


class ClientCredentials:
    """The tokens of a service application, for any number of sessions: pass it to them as `auth`.

    `client_id` and `client_secret` are those of the registered application, `token_url` is the token endpoint of its
    identity server (DEV.token_url; https, or this machine), `scope` the scopes wanted, separated by spaces. An
    unusable argument raises ValueError or TypeError, whose text never contains the secret.

    A token is requested on first use, kept, and renewed at 90 % of its life (60 seconds before its end at the latest,
    but not in the first half) or after a 401, with one request however many callers wait and at most three attempts. A
    failed renewal has no effect while the token is valid; without a valid one it raises AuthenticationError. No
    connection is kept open, so there is nothing to close.

    `http` lends its connector, its own proxy and `trust_env`, and is never closed. `clock` measures the life of the
    token and the delays between attempts; by default it is the machine's.

    >>> ClientCredentials("service-abc", "a secret")
    <ClientCredentials service-abc at https://qa-ims.bentley.com/connect/token>
    """

    def __init__(
        self,
        client_id: str,
        client_secret: str,
        *,
        token_url: str | URL = DEV.token_url,
        scope: str = "itwin-platform",
        http: aiohttp.ClientSession | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._client_id = _check("client_id", client_id, _PRINTABLE)
        # Both parts are form-encoded (RFC 6749 section 2.3.1), as by the platform's own @itwin/service-authorization.
        pair = f"{quote_plus(client_id)}:{quote_plus(_check('client_secret', client_secret, _PRINTABLE))}"
        self._authorization = f"Basic {base64.b64encode(pair.encode()).decode()}"
        self._url = check_url("token_url", token_url)
        self._scope = _check("scope", scope, _SCOPE)
        self._borrowed = check_borrowed(http)
        self._clock = to_clock(clock)
        self._token: _Token | None = None
        self._closed: tuple[float, AuthenticationError] | None = None  # nothing is sent before that time
        self._renewal = SingleFlight(self._renew)
        self.in_flight: int = 0  # token requests under way now: one or none

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._client_id} at {self._url}>"

    def __reduce__(self) -> str:
        raise TypeError("client credentials hold a secret: they cannot be pickled or copied")

    async def get_token(self, *, rejected: str | None = None) -> str:
        """Return the current token, after requesting or renewing it if that is due; `rejected` is one that met a 401.

        Raise AuthenticationError if no token can be obtained.
        """
        now, token = self._clock.monotonic(), self._token
        if token is None or token.ends_at <= now:
            return (await self._renewal.result()).text
        if rejected == token.text and token.settled_until <= now:
            token.renew_at = now  # for other callers, who then wait for the same renewal
            return (await self._renewal.result()).text
        if now < token.renew_at:
            return token.text
        try:
            return (await self._renewal.result(patience=_PATIENCE)).text
        except (TimeoutError, AuthenticationError):
            token.renew_at = self._clock.monotonic() + _RENEWAL_DELAY
            return token.text

    async def aclose_idle(self) -> None:
        """End a renewal that no caller waits for; a session that closes calls this."""
        await self._renewal.aclose()

    async def _renew(self) -> _Token:
        """Request a token in at most three attempts, but none before the identity server's Retry-After has passed."""
        if self._closed is not None and self._clock.monotonic() < self._closed[0]:
            raise copy_error(self._closed[1])
        attempt = 1
        while isinstance(answer := await self._request(), SchedulesError):
            delay = retry_delay(answer, attempt, random.random())
            if delay is None:
                raise self._fail(answer, attempt) from answer
            attempt += 1
            await self._clock.sleep(delay)
        if self._token is not None and self._token.text == answer.text:
            answer.settled_until = self._clock.monotonic() + _RENEWAL_DELAY
        self._token, self._closed = answer, None
        return answer

    def _fail(self, fault: SchedulesError, attempts: int) -> AuthenticationError:
        now, retry_after = self._clock.monotonic(), getattr(fault, "retry_after", None)
        count = f" ({attempts} attempts)" if attempts > 1 else ""
        text = f"no token could be obtained from {self._url.host}: {fault}{count}"
        error = AuthenticationError(text, code=getattr(fault, "code", None), retry_after=retry_after)
        error.is_transient = fault.is_transient or fault.is_throttling
        if retry_after is not None:
            self._closed = (now + retry_after, error)
        if self._token is not None:
            self._token.renew_at = now + _RENEWAL_DELAY
        return error

    async def _request(self) -> _Token | SchedulesError:
        """Return a new token, or the fault of one request, without the frames that hold the secret or the answer."""
        proxy, client, sent = None, None, self._clock.monotonic()
        self.in_flight += 1
        try:
            proxy = find_proxy(self._borrowed, self._url)
            headers = {**COMMON_HEADERS, "Accept": "application/json", "Authorization": self._authorization}
            client = open_client(self._borrowed, proxy, {"force_close": True}, headers=headers)
            async with asyncio.timeout(ATTEMPT_TIMEOUT), client as http:
                form = {"grant_type": "client_credentials", "scope": self._scope}
                response = await http.post(self._url, data=form, allow_redirects=False)
                text, life = read_grant(await read_whole(response, proxy))
            return _Token(text, sent + renewal_age(life), sent + life)
        except SchedulesError as error:
            return copy_error(error)
        except Exception as error:  # also of a borrowed connector
            is_lost = client is None or (self._borrowed is not None and self._borrowed.closed)
            return to_transport_error(error, self._url, proxy, is_transient=not is_lost)
        finally:
            self.in_flight -= 1


def _check(name: str, value: str, form: re.Pattern[str]) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be text, not {type(value).__name__}")
    if not form.fullmatch(value):
        raise ValueError(f"{name} is empty, or contains a character that RFC 6749 (appendix A) does not allow")
    return value
