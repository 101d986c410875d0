"""An identity server beside the fake service: tokens for client credentials, each with an end."""

import base64
import itertools
from urllib.parse import unquote_plus

from attrs import define, field

from schedules_async.testing.answers import Answer, error_body
from schedules_async.testing.listening import ReceivedRequest

ENDPOINT = "/connect/token"

_WRONG_METHOD = Answer(405, error_body("MethodNotAllowed", "Tokens are asked for with POST."), {"Allow": "POST"})
_WRONG_CLIENT = Answer(401, {"error": "invalid_client"}, {"WWW-Authenticate": "Basic"})  # RFC 6749 section 5.2


@define(eq=False)
class TokenIssuer:
    """Issues tokens, and knows until when each is good, in seconds of the server's clock."""

    _ends: dict[str, float] = field(init=False, factory=dict)
    _numbers: "itertools.count[int]" = field(init=False, factory=lambda: itertools.count(1))

    def answer(self, received: ReceivedRequest, client: tuple[str, str], name: str, life: float) -> Answer:
        """Answer the client's token request with a new token, `name` and a number; its form is not looked at."""
        if received.method != "POST":
            return _WRONG_METHOD
        if read_basic(received.headers.get("Authorization", "")) != client:
            return _WRONG_CLIENT
        token = f"{name}-{next(self._numbers)}"
        self._ends[token] = received.time + life
        grant = {"access_token": token, "token_type": "Bearer", "expires_in": life, "scope": "itwin-platform"}
        return Answer(200, grant, {"Cache-Control": "no-store", "Content-Type": "application/json"})

    def is_good(self, token: str | None, now: float) -> bool:
        """Tell whether a token was issued here and has not ended."""
        return token is not None and now < self._ends.get(token, now)


def read_basic(authorization: str) -> tuple[str, str] | None:
    """Give the client's id and secret out of an Authorization header, None for anything else (RFC 6749 2.3.1)."""
    scheme, _, encoded = authorization.partition(" ")
    try:
        client_id, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except ValueError:  # no base64, or no text in it
        return None
    return (unquote_plus(client_id), unquote_plus(secret)) if scheme.lower() == "basic" else None
