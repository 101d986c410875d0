"""The token endpoint of the fake server: expiring tokens for client credentials."""

import base64
import itertools
from urllib.parse import unquote_plus

from attrs import define, field

from schedules_async.testing.answers import Answer, error_body
from schedules_async.testing.http_server import ReceivedRequest

ENDPOINT = "/connect/token"

_WRONG_METHOD = Answer(405, error_body("MethodNotAllowed", "Tokens are requested with POST."), {"Allow": "POST"})
_WRONG_CLIENT = Answer(401, {"error": "invalid_client"}, {"WWW-Authenticate": "Basic"})  # RFC 6749 section 5.2


@define(eq=False)
class TokenIssuer:
    """Issues tokens and keeps their expiry times, in seconds of the server's clock."""

    _expiry_times: dict[str, float] = field(init=False, factory=dict)
    _numbers: "itertools.count[int]" = field(init=False, factory=lambda: itertools.count(1))

    def answer(self, received: ReceivedRequest, client: tuple[str, str], name: str, life: float) -> Answer:
        """Return a new token, `name` with a number, to the client with these credentials; the form is not checked.

        The token expires `life` seconds after the request.
        """
        if received.method != "POST":
            return _WRONG_METHOD
        if read_basic(received.headers.get("Authorization", "")) != client:
            return _WRONG_CLIENT
        token = f"{name}-{next(self._numbers)}"
        self._expiry_times[token] = received.time + life
        grant = {"access_token": token, "token_type": "Bearer", "expires_in": life, "scope": "itwin-platform"}
        return Answer(200, grant, {"Cache-Control": "no-store", "Content-Type": "application/json"})

    def is_valid(self, token: str | None, now: float) -> bool:
        """Return True if the token was issued here and has not expired."""
        return token is not None and now < self._expiry_times.get(token, now)


def read_basic(authorization: str) -> tuple[str, str] | None:
    """Return the client id and secret of an Authorization header, or None for anything else (RFC 6749 2.3.1)."""
    scheme, _, encoded = authorization.partition(" ")
    try:
        client_id, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except ValueError:  # not base64, or not UTF-8
        return None
    return (unquote_plus(client_id), unquote_plus(secret)) if scheme.lower() == "basic" else None
