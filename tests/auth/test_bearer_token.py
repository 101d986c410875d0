"""Which tokens can stand in a header, and where their text does not show."""

from collections.abc import Iterable
from typing import Any

import pytest

from schedules_async._auth.bearer_token import BearerToken, to_bearer_token

VISIBLE = "".join(map(chr, range(0x21, 0x7F)))
NOT_VISIBLE = [*map(chr, range(0x21)), *map(chr, range(0x7F, 0x100)), "\u2028", "\udc80", "\U0001f600"]


def test_bearer_token_shows_no_text() -> None:
    token = BearerToken("secret")
    assert token.text == "secret"
    assert "secret" not in f"{token} {token!r} {[token]}"


@pytest.mark.parametrize("tokens", [VISIBLE, [VISIBLE], ["eyJhbGciOi.J9~+/_-="], ["!" * 10_000]])
async def test_usable_token_is_returned_and_provides_itself(tokens: Iterable[str]) -> None:
    for text in tokens:
        token = to_bearer_token(text)
        assert token == BearerToken(text)
        assert await BearerToken(text).get_token(rejected=text) == text


@pytest.mark.parametrize("form", ["{}", "{}sec", "sec{}", "sec{}ret"])
def test_unusable_character_is_a_value_error(form: str) -> None:
    for token in map(form.format, NOT_VISIBLE):
        error = to_bearer_token(token)
        assert isinstance(error, ValueError)
        assert str(error).startswith("an unusable token: empty, or with a character outside")
        assert error.__traceback__ is None


def test_empty_token_is_a_value_error() -> None:
    assert isinstance(to_bearer_token(""), ValueError)


@pytest.mark.parametrize("token", [None, 5, True, b"secret", ["secret"], {"secret": 1}])
def test_token_of_another_type_is_a_type_error(token: Any) -> None:
    error = to_bearer_token(token)
    assert isinstance(error, TypeError)
    assert str(error) == f"a token must be a string, not {type(token).__name__}"
    assert error.__traceback__ is None
