"""The identity server's answer to a token request, and when to retry it. Pure."""

import re
from typing import Any

from multidict import CIMultiDict

from schedules_async._http.responses import Answer, BearerToken, read_error
from schedules_async._http.retry import RetryPolicy, backoff_delay
from schedules_async._operations.fields import read_any_json
from schedules_async.errors import MalformedResponseError, ResponseError, SchedulesError

_RETRY = RetryPolicy(attempts=3)
_MAX_DELAY = 5.0  # seconds between two attempts; a longer Retry-After ends them
_USUAL_LIFE = 3600.0  # seconds: Bentley's, for an answer without one
_SHORTEST_LIFE, _LONGEST_LIFE = 1.0, 86400.0  # seconds; other values are clipped
_ERROR_CODE = re.compile(
    rb'"error"\s*:\s*"(invalid_(?:client|grant|request|scope)|unauthorized_client|unsupported_grant_type)"'
)


def read_grant(answer: Answer) -> tuple[str, float]:
    """Return the token and its life in seconds; raise the error that the answer means."""
    if answer.status >= 300:
        raise _read_failure(answer)
    problem = answer.problem if answer.status == 200 else f"unexpected status {answer.status}"
    if problem is not None:
        raise MalformedResponseError(problem)
    grant = read_any_json(answer.body)
    if not isinstance(grant, dict):
        raise MalformedResponseError("the answer is not a JSON object")
    if str(grant.get("token_type", "Bearer")).lower() != "bearer":  # RFC 6749 section 7.1
        raise MalformedResponseError("the type of the token is not Bearer")
    text: Any = grant.get("access_token")
    try:
        BearerToken(text).check()
    except (TypeError, ValueError) as error:
        raise MalformedResponseError(f"no usable access_token: {error}") from None
    return text, read_life(grant.get("expires_in"))


def _read_failure(answer: Answer) -> ResponseError:
    """Return the error with only the status, the delay and a standard code (RFC 6749 section 5.2).

    The rest may repeat the secret.
    """
    times = [(name, value) for name, value in answer.headers.items() if name.title() in ("Date", "Retry-After")]
    code = _ERROR_CODE.search(answer.body)
    body = b"" if code is None else b'{"error": {"code": "%s"}}' % code[1]
    return read_error(Answer(answer.status, CIMultiDict(times), body, received=answer.received))


def read_life(expires_in: object) -> float:
    """Return the life of a token in seconds; an unusable `expires_in` counts as absent."""
    if isinstance(expires_in, bool) or not isinstance(expires_in, int | float) or not expires_in > 0:
        return _USUAL_LIFE
    return float(min(max(expires_in, _SHORTEST_LIFE), _LONGEST_LIFE))


def renewal_age(life: float) -> float:
    """Return the age at which a token is renewed: 90 % of its life or a minute before its end, at least half of it."""
    return max(life / 2, min(0.9 * life, life - 60))


def retry_delay(fault: SchedulesError, attempt: int, sample: float) -> float | None:
    """Return the delay before the next attempt, None for no attempt; `sample` in [0, 1) is the jitter."""
    if attempt == _RETRY.attempts or not (fault.is_transient or fault.is_throttling):
        return None
    retry_after = fault.retry_after if isinstance(fault, ResponseError) else None
    delay = max(backoff_delay(_RETRY, attempt, sample), retry_after or 0.0)
    return delay if delay <= _MAX_DELAY else None
