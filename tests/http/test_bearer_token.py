"""Which tokens can stand in a header, and where their text does not show."""

from collections.abc import Iterable
from typing import Any

import pytest

from schedules_async._http.bearer_token import BearerToken

VISIBLE = "".join(map(chr, range(0x21, 0x7F)))
NOT_VISIBLE = [*map(chr, range(0x21)), *map(chr, range(0x7F, 0x100)), "\u2028", "\udc80", "\U0001f600"]


def test_bearer_token_shows_no_text() -> None:
    token = BearerToken("secret")
    assert token.text == "secret"
    assert "secret" not in f"{token} {token!r} {[token]}"


@pytest.mark.parametrize("tokens", [VISIBLE, [VISIBLE], ["eyJhbGciOi.J9~+/_-="], ["!" * 10_000]])
def test_usable_token_is_returned_itself(tokens: Iterable[str]) -> None:
    for text in tokens:
        token = BearerToken(text)
        assert token.check() is token
        assert token.text == text


@pytest.mark.parametrize("form", ["{}", "{}sec", "sec{}", "sec{}ret"])
def test_unusable_character_is_a_value_error(form: str) -> None:
    for token in map(BearerToken, map(form.format, NOT_VISIBLE)):
        with pytest.raises(ValueError, match=r"^an unusable token: empty, or with a character outside") as caught:
            token.check()
        assert caught.traceback[-1].locals == {"self": token}  # which no repr shows


def test_empty_token_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="unusable token"):
        BearerToken("").check()


@pytest.mark.parametrize("text", [None, 5, True, b"secret", ["secret"], {"secret": 1}])
def test_token_of_another_type_is_a_type_error(text: Any) -> None:
    token = BearerToken(text)
    with pytest.raises(TypeError, match=rf"^a token must be a string, not {type(text).__name__}$") as caught:
        token.check()
    assert caught.traceback[-1].locals == {"self": token}
