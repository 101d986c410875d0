"""Tokens: what is taken for one, what is refused without being shown, and who is asked."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from event_loops import HastyLoop, turns

from schedules_async._auth.tokens import TokenProvider, Tokens, as_token_provider, check_token, request_token
from schedules_async._hooks import Hooks
from schedules_async.errors import AuthenticationError

BAD_TOKENS = [
    "",
    " ",
    "Bearer secret",
    "sec ret",
    " secret",
    "secret ",
    "secret\n",
    "sec\r\nX-Other: ret",
    "sec\tret",
    "sec\x00ret",
    "sec\x7fret",
    "secr\u00e9t",
    "secret\u2028",
    "secret\udc80",
    "secret\U0001f600",
]


class Provider:
    """Remembers what it was told."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.rejected: list[str | None] = []

    async def get_token(self, *, rejected: str | None = None) -> str:
        self.rejected.append(rejected)
        if isinstance(self.answer, BaseException):
            raise self.answer
        token: str = self.answer
        return token


def function_of(answer: Any) -> Callable[[], Awaitable[str]]:
    async def give() -> str:
        return await Provider(answer).get_token()

    return give


@pytest.mark.parametrize("token", ["a", "secret", "eyJhbGciOi.J9~+/_-=", "!" * 10_000, "~", '"quoted"'])
def test_a_usable_token_is_given_back(token: str) -> None:
    assert check_token(token) == token


@pytest.mark.parametrize("token", BAD_TOKENS, ids=ascii)
async def test_an_unusable_token_is_refused_unseen(token: str) -> None:
    refusals = []
    for refuse in (check_token, as_token_provider):
        with pytest.raises(ValueError, match="unusable token") as caught:
            refuse(token)
        refusals.append(caught)
    for source in (Provider(token), as_token_provider(function_of(token))):
        with pytest.raises(ValueError, match="unusable token") as caught:
            await request_token(source)
        refusals.append(caught)
    for caught in refusals:
        assert "secr" not in str(caught.value)
        assert "sec" not in repr(caught.value)
        assert caught.value.__cause__ is None


@pytest.mark.parametrize("token", [None, 5, b"secret", ["secret"]])
async def test_what_is_no_text_is_no_token(token: Any) -> None:
    with pytest.raises(TypeError, match=type(token).__name__) as caught:
        check_token(token)
    assert "secret" not in str(caught.value)
    with pytest.raises(TypeError):
        await request_token(Provider(token))


@pytest.mark.parametrize("auth", [None, 5, b"secret", ["secret"], {"token": "secret"}])
def test_what_gives_no_token_is_refused(auth: Any) -> None:
    with pytest.raises(TypeError, match=type(auth).__name__) as caught:
        as_token_provider(auth)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("auth", ["secret", function_of("secret"), Provider("secret")])
@pytest.mark.parametrize("rejected", [None, "old"])
async def test_each_kind_of_source_gives_its_token(
    auth: str | Callable[[], Awaitable[str]] | TokenProvider, rejected: str | None
) -> None:
    provider = as_token_provider(auth)
    assert isinstance(provider, TokenProvider)
    assert await provider.get_token(rejected=rejected) == "secret"
    assert await request_token(provider, rejected) == "secret"
    assert "secret" not in repr(provider)
    assert "secret" not in str(provider)


async def test_a_provider_is_used_as_it_is_and_told_what_was_rejected() -> None:
    provider = Provider("new")
    assert as_token_provider(provider) is provider
    await request_token(provider)
    await request_token(provider, "old")
    assert provider.rejected == [None, "old"]


async def test_a_function_is_asked_every_time() -> None:
    tokens = iter(["one", "two"])

    async def give() -> str:
        return next(tokens)

    provider = as_token_provider(give)
    assert [await request_token(provider), await request_token(provider)] == ["one", "two"]


@pytest.mark.parametrize(
    "error", [OSError("down"), ValueError("secret"), KeyError("x"), TimeoutError(), ExceptionGroup("x", [OSError()])]
)
@pytest.mark.parametrize("kind", [Provider, function_of])
async def test_what_a_source_raises_becomes_an_authentication_error(
    kind: Callable[[Any], Any], error: Exception
) -> None:
    with pytest.raises(AuthenticationError) as caught:
        await request_token(as_token_provider(kind(error)))
    assert caught.value.__cause__ is error
    assert type(error).__name__ in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.status is None


@pytest.mark.parametrize(
    "auth", [lambda: "secret", lambda needed: needed, Provider], ids=["plain", "argument", "class"]
)
async def test_a_function_that_cannot_be_awaited_or_called_is_an_authentication_error(auth: Any) -> None:
    with pytest.raises(AuthenticationError) as caught:
        await request_token(as_token_provider(auth))
    assert isinstance(caught.value.__cause__, TypeError)
    assert "secret" not in str(caught.value)


async def test_an_authentication_error_of_the_source_stays_what_it_is() -> None:
    error = AuthenticationError("locked out", code="Locked")
    with pytest.raises(AuthenticationError) as caught:
        await request_token(Provider(error))
    assert caught.value is error


async def test_a_cancelled_source_is_no_token() -> None:
    with pytest.raises(AuthenticationError, match="CancelledError"):
        await request_token(Provider(asyncio.CancelledError()))


@pytest.mark.parametrize(("seconds", "is_too_long"), [(29.0, False), (30.5, True)])
def test_a_source_has_half_a_minute(seconds: float, is_too_long: bool) -> None:
    loop = HastyLoop()

    async def dawdle() -> str:
        loop.ahead += seconds
        await asyncio.sleep(0.01)
        return "secret"

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        if not is_too_long:
            assert runner.run(request_token(as_token_provider(dawdle))) == "secret"
            return
        with pytest.raises(AuthenticationError, match="TimeoutError") as caught:
            runner.run(request_token(as_token_provider(dawdle)))
        assert isinstance(caught.value.__cause__, TimeoutError)


class Renewing:
    """Renews whenever it is told of a rejection, without a look at which token that was."""

    def __init__(self) -> None:
        self.asked: list[str | None] = []

    async def get_token(self, *, rejected: str | None = None) -> str:
        self.asked.append(rejected)
        await asyncio.sleep(0)
        return f"token-{len([one for one in self.asked if one])}"


async def test_a_rejected_token_is_renewed_once_for_all_who_bring_it() -> None:
    provider = Renewing()
    tokens = Tokens(provider, Hooks())
    old = await tokens.get()
    assert set(await asyncio.gather(*(tokens.renew(old) for _ in range(50)))) == {"token-1"}
    assert await tokens.renew(old) == "token-1"  # a 401 that comes late
    assert [one for one in provider.asked if one] == [old]
    assert await tokens.renew("token-1") == "token-2"


async def test_who_is_cancelled_while_a_token_is_renewed_strands_nobody() -> None:
    provider = Renewing()
    tokens = Tokens(provider, Hooks())
    old = await tokens.get()
    renewals = [asyncio.create_task(tokens.renew(old)) for _ in range(5)]
    await turns(1)
    renewals[0].cancel()
    results = await asyncio.gather(*renewals, return_exceptions=True)
    assert results[1:] == ["token-1"] * 4
    assert provider.asked == [None, old]
    for renewal in [asyncio.create_task(tokens.renew("token-1")) for _ in range(5)]:
        renewal.cancel()
    assert await tokens.renew("token-1") == "token-2"


async def test_a_provider_that_falls_back_to_the_rejected_token_is_told_of_it() -> None:
    given = iter(["old", "new", "old", "other"])

    asked: list[str | None] = []

    class Fickle:
        async def get_token(self, *, rejected: str | None = None) -> str:
            asked.append(rejected)
            return next(given)

    tokens = Tokens(Fickle(), Hooks())
    assert [await tokens.get(), await tokens.get()] == ["old", "new"]
    assert await tokens.renew("old") == "other"
    assert asked == [None, None, None, "old"]
