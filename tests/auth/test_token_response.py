"""The identity server's possible answers, and what they mean: tables."""

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict
from texts import ENCODABLE

from schedules_async._auth.token_response import read_grant, read_life, renewal_age, retry_delay
from schedules_async._http.responses import Answer
from schedules_async.errors import MalformedResponseError, ResponseError, SchedulesError, TransportError

SECRET = "the-secret-that-must-not-be-seen"


def answer(status: int = 200, body: object = None, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status, CIMultiDict(headers or {}), body if isinstance(body, bytes) else json.dumps(body).encode())


@pytest.mark.parametrize(
    ("grant", "life"),
    [
        ({"expires_in": 3600, "token_type": "Bearer", "scope": "itwin-platform"}, 3600),
        ({"expires_in": 60.5, "token_type": "bearer"}, 60.5),
        ({"expires_in": None}, 3600),
        ({}, 3600),
    ],
)
def test_token_and_its_life_are_read(grant: dict[str, object], life: float) -> None:
    assert read_grant(answer(200, {"access_token": SECRET, **grant})) == (SECRET, life)


@pytest.mark.parametrize(
    ("expires_in", "life"),
    [
        (1, 1),
        (0.5, 1),
        (5e-324, 1),
        (86401, 86400),
        (10**400, 86400),
        (math.inf, 86400),
        (None, 3600),
        ("3600", 3600),
        ("soon", 3600),
        (0, 3600),
        (-5, 3600),
        (-(10**400), 3600),
        (math.nan, 3600),
        (-math.inf, 3600),
        (True, 3600),
        ([60], 3600),
    ],
)
def test_meaningless_life_is_an_hour(expires_in: object, life: float) -> None:
    assert read_life(expires_in) == life


@pytest.mark.parametrize(
    ("life", "age"), [(3600, 3240), (86400, 77760), (600, 540), (300, 240), (120, 60), (60, 30), (10, 5), (1, 0.5)]
)
def test_renewal_age_is_early(life: float, age: float) -> None:
    assert renewal_age(life) == age


@given(st.floats(1, 86400))
def test_renewal_age_is_within_the_life(life: float) -> None:
    assert 0 < life / 2 <= renewal_age(life) <= max(0.9 * life, life / 2)
    assert life < 120 or renewal_age(life) <= life - 60


@pytest.mark.parametrize(
    "malformed",
    [
        answer(200, b""),
        answer(200, b"<html>" + SECRET.encode()),
        answer(200, b"\xff" + SECRET.encode()),
        answer(200, b"[" * 100_000),
        answer(200, [SECRET]),
        answer(200, {}),
        answer(200, {"access_token": None}),
        answer(200, {"access_token": 5}),
        answer(200, {"access_token": ""}),
        answer(200, {"access_token": SECRET + "\r\nX: y"}),
        answer(200, {"access_token": SECRET, "token_type": "mac"}),
        answer(200, {"access_token": SECRET, "token_type": None}),
        answer(201, {"access_token": SECRET}),
        answer(204, b""),
        Answer(200, CIMultiDict(), b"", "the body is larger than 1048576 bytes"),
    ],
)
def test_answer_without_token_is_malformed(malformed: Answer) -> None:
    with pytest.raises(MalformedResponseError, match=r"\w") as caught:
        read_grant(malformed)
    assert SECRET not in repr(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (400, {"error": "invalid_client"}, "invalid_client"),
        (401, {"error": "unauthorized_client", "error_description": SECRET}, "unauthorized_client"),
        (400, {"error": SECRET}, None),
        (400, {"error": {"code": "invalid_client", "message": SECRET}}, None),
        (400, [], None),
        (302, b"", None),
        (500, SECRET.encode(), None),
        (999, b"", None),
    ],
)
def test_error_answer_shows_status_and_known_code(status: int, body: object, code: str | None) -> None:
    """Any other text of the answer might repeat the secret."""
    with pytest.raises(ResponseError) as caught:
        read_grant(answer(status, body, {"x-correlation-id": SECRET, "Retry-After": "7", "Set-Cookie": SECRET}))
    error = caught.value
    assert (error.status, error.code, error.retry_after) == (status, code, 7)
    assert SECRET not in f"{error!r} {vars(error)}"


@pytest.mark.parametrize(
    ("fault", "delays"),
    [
        (TransportError("reset"), [0.25, 0.5, None]),
        (TransportError("untrusted", is_transient=False), [None]),
        (MalformedResponseError("no JSON"), [None]),
        (ResponseError("400", status=400), [None]),
        (ResponseError("401", status=401), [None]),
        (ResponseError("302", status=302), [None]),
        (ResponseError("503", status=503), [0.25, 0.5, None]),
        (ResponseError("503", status=503, retry_after=2.0), [2, 2, None]),
        (ResponseError("429", status=429), [0.25, 0.5, None]),
        (ResponseError("429", status=429, retry_after=60.0), [None]),
    ],
)
def test_only_transient_faults_are_retried(fault: SchedulesError, delays: list[Any]) -> None:
    assert [retry_delay(fault, attempt, 0.5) for attempt in range(1, len(delays) + 1)] == delays


@given(
    st.integers(200, 999), st.binary(), st.dictionaries(st.sampled_from(["Retry-After", "Date"]), st.text(ENCODABLE))
)
def test_any_bytes_are_token_or_typed_error(status: int, body: bytes, headers: dict[str, str]) -> None:
    with suppress(SchedulesError):
        token, life = read_grant(answer(status, body, headers))
        assert token
        assert 1 <= life <= 86400
