"""Which tokens can stand in a header, and where their text does not show."""

import traceback
from collections.abc import Iterable
from typing import Any

import pytest

from schedules_async._auth.bearer_token import BearerToken, check_token, to_bearer_token

VISIBLE = "".join(map(chr, range(0x21, 0x7F)))
NOT_VISIBLE = [*map(chr, range(0x21)), *map(chr, range(0x7F, 0x100)), "\u2028", "\udc80", "\U0001f600"]


def test_bearer_token_shows_no_text() -> None:
    token = BearerToken("secret")
    assert token.text == "secret"
    assert "secret" not in f"{token} {token!r} {[token]}"


@pytest.mark.parametrize("tokens", [VISIBLE, [VISIBLE], ["eyJhbGciOi.J9~+/_-="], ["!" * 10_000]])
def test_usable_token_is_returned(tokens: Iterable[str]) -> None:
    for token in tokens:
        assert check_token(token) == token
        assert to_bearer_token(token) == BearerToken(token)


@pytest.mark.parametrize("form", ["{}", "{}sec", "sec{}", "sec{}ret"])
def test_unusable_character_raises_value_error(form: str) -> None:
    for token in map(form.format, NOT_VISIBLE):
        with pytest.raises(ValueError, match="unusable token") as caught:
            check_token(token)
        assert "sec" not in str(caught.value)
        assert repr(to_bearer_token(token)) == repr(caught.value)


def test_empty_token_raises_value_error() -> None:
    with pytest.raises(ValueError, match="unusable token: empty"):
        check_token("")


@pytest.mark.parametrize("token", [None, 5, True, b"secret", ["secret"], {"secret": 1}])
def test_token_of_another_type_raises_type_error(token: Any) -> None:
    with pytest.raises(TypeError, match=f"must be a string, not {type(token).__name__}") as caught:
        check_token(token)
    assert "secret" not in str(caught.value)
    assert repr(to_bearer_token(token)) == repr(caught.value)


@pytest.mark.parametrize("token", ["sec ret", b"secret"])
def test_frames_of_check_hold_no_token(token: Any) -> None:
    """An error reporter shows the variables of each frame of a traceback; the first one is this test's."""
    with pytest.raises((TypeError, ValueError)) as caught:
        check_token(token)
    _, *own = [frame for frame, _ in traceback.walk_tb(caught.tb)]
    assert [frame.f_code.co_name for frame in own] == ["check_token"]
    assert "sec" not in repr([frame.f_locals for frame in own])
