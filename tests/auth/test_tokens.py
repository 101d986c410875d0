"""Tokens: which are usable, which are rejected without being shown, and which provider is asked."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from event_loops import HastyLoop, turns

from schedules_async._auth.tokens import Auth, Tokens
from schedules_async._hooks import Hooks
from schedules_async._http.responses import BearerToken
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
    """Records the tokens that were rejected."""

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
    async def get() -> str:
        return await Provider(answer).get_token()

    return get


def plain_function_of(answer: Any) -> Callable[[], str]:
    def get() -> str:
        if isinstance(answer, BaseException):
            raise answer
        token: str = answer
        return token

    return get


def tokens_of(auth: Auth) -> Tokens:
    return Tokens(auth, Hooks(), contextvars.copy_context())


@pytest.mark.parametrize("token", BAD_TOKENS, ids=ascii)
async def test_unusable_token_is_rejected_without_being_shown(token: str) -> None:
    rejections = []
    with pytest.raises(ValueError, match="unusable token") as caught:
        tokens_of(token)
    rejections.append(caught)
    for auth in (Provider(token), function_of(token), plain_function_of(token)):
        with pytest.raises(ValueError, match="unusable token") as caught:
            await tokens_of(auth).get()
        rejections.append(caught)
    for caught in rejections:
        assert "secr" not in str(caught.value)
        assert "sec" not in repr(caught.value)
        assert caught.value.__cause__ is None


@pytest.mark.parametrize("token", [None, 5, b"secret", ["secret"]])
async def test_token_of_another_type_raises_type_error(token: Any) -> None:
    with pytest.raises(TypeError, match=type(token).__name__) as caught:
        await tokens_of(Provider(token)).get()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("auth", [None, 5, b"secret", ["secret"], {"token": "secret"}])
def test_auth_of_another_type_raises_type_error(auth: Any) -> None:
    with pytest.raises(TypeError, match=type(auth).__name__) as caught:
        tokens_of(auth)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "auth",
    ["secret", function_of("secret"), plain_function_of("secret"), Provider("secret")],
    ids=["text", "async function", "plain function", "provider"],
)
@pytest.mark.parametrize("rejected", [None, "old"])
async def test_each_kind_of_auth_provides_its_token(auth: Auth, rejected: str | None) -> None:
    tokens = tokens_of(auth)
    renewed = None if rejected is None or tokens.fixed else await tokens.renew(BearerToken(rejected))
    token = renewed or tokens.fixed or await tokens.get()
    assert token == BearerToken("secret")
    assert tokens.fixed == (token if isinstance(auth, str) else None)
    assert "secret" not in repr(token)
    assert "secret" not in repr(tokens)
    assert "secret" not in str(tokens)


async def test_provider_is_used_itself_with_rejected_token() -> None:
    provider = Provider("new")
    tokens = tokens_of(provider)
    assert await tokens.renew(await tokens.get()) == BearerToken("new")
    assert provider.rejected == [None, "new"]


async def test_function_is_called_for_every_request() -> None:
    tokens = iter(["one", "two"])
    session = tokens_of(lambda: next(tokens))
    assert [(await session.get()).text for _ in range(2)] == ["one", "two"]


@pytest.mark.parametrize(
    "error", [OSError("down"), ValueError("secret"), KeyError("x"), TimeoutError(), ExceptionGroup("x", [OSError()])]
)
@pytest.mark.parametrize("kind", [Provider, function_of, plain_function_of])
async def test_exception_of_provider_becomes_authentication_error(kind: Callable[[Any], Any], error: Exception) -> None:
    with pytest.raises(AuthenticationError) as caught:
        await tokens_of(kind(error)).get()
    assert caught.value.__cause__ is error
    assert type(error).__name__ in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.status is None


@pytest.mark.parametrize("auth", [lambda needed: needed, Provider], ids=["argument", "class"])
async def test_function_that_cannot_be_called_is_authentication_error(auth: Any) -> None:
    with pytest.raises(AuthenticationError) as caught:
        await tokens_of(auth).get()
    assert isinstance(caught.value.__cause__, TypeError)
    assert "secret" not in str(caught.value)


async def test_authentication_error_of_provider_is_raised_unchanged() -> None:
    error = AuthenticationError("locked out", code="Locked")
    with pytest.raises(AuthenticationError) as caught:
        await tokens_of(Provider(error)).get()
    assert caught.value is error


async def test_provider_that_raises_cancelled_error_is_authentication_error() -> None:
    with pytest.raises(AuthenticationError, match="CancelledError"):
        await tokens_of(Provider(asyncio.CancelledError())).get()


@pytest.mark.parametrize(("seconds", "is_too_long"), [(29.0, False), (30.5, True)])
def test_provider_has_half_a_minute(seconds: float, is_too_long: bool) -> None:
    loop = HastyLoop()

    async def dawdle() -> str:
        loop.ahead += seconds
        await turns(5)
        return "secret"

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        if not is_too_long:
            assert runner.run(tokens_of(dawdle).get()).text == "secret"
            return
        with pytest.raises(AuthenticationError, match="TimeoutError") as caught:
            runner.run(tokens_of(dawdle).get())
        assert isinstance(caught.value.__cause__, TimeoutError)


class Renewing:
    """Renews whenever a token was rejected, whichever that was."""

    def __init__(self) -> None:
        self.rejected: list[str | None] = []

    async def get_token(self, *, rejected: str | None = None) -> str:
        self.rejected.append(rejected)
        await asyncio.sleep(0)
        return f"token-{len([one for one in self.rejected if one])}"


async def test_rejected_token_is_renewed_once_for_all_requests() -> None:
    provider = Renewing()
    tokens = tokens_of(provider)
    old, new = await tokens.get(), BearerToken("token-1")
    assert await asyncio.gather(*(tokens.renew(old) for _ in range(50))) == [new] * 50
    assert await tokens.renew(old) == new  # a 401 that comes late
    assert [one for one in provider.rejected if one] == [old.text]
    assert await tokens.renew(new) == BearerToken("token-2")


async def test_two_rejected_tokens_are_renewed_apart() -> None:
    replacements, slow = {None: "old", "old": "new", "new": "newest"}, asyncio.Event()

    class Replacing:
        async def get_token(self, *, rejected: str | None = None) -> str:
            if rejected == "old":
                await slow.wait()
            return replacements[rejected]

    tokens = tokens_of(Replacing())
    renewal = asyncio.create_task(tokens.renew(await tokens.get()))
    await turns(3)
    replacements[None] = "new"
    assert await tokens.renew(await tokens.get()) == BearerToken("newest")
    slow.set()
    assert await renewal == BearerToken("new")


async def test_cancelled_renewals_leave_the_others_alone() -> None:
    provider = Renewing()
    tokens = tokens_of(provider)
    old, new = await tokens.get(), BearerToken("token-1")
    renewals = [asyncio.create_task(tokens.renew(old)) for _ in range(5)]
    await turns(1)
    renewals[0].cancel()
    results = await asyncio.gather(*renewals, return_exceptions=True)
    assert results[1:] == [new] * 4
    assert provider.rejected == [None, old.text]
    for renewal in [asyncio.create_task(tokens.renew(new)) for _ in range(5)]:
        renewal.cancel()
    assert await tokens.renew(new) == BearerToken("token-2")


async def test_last_cancelled_renewal_leaves_no_task() -> None:
    before = asyncio.all_tasks()
    texts = iter(["old"])

    async def hang_once_rejected() -> str:
        return next(texts, "") or await asyncio.get_running_loop().create_future()

    tokens = tokens_of(hang_once_rejected)
    renewal = asyncio.create_task(tokens.renew(await tokens.get()))
    await turns(2)
    renewal.cancel()
    await asyncio.wait({renewal})
    assert asyncio.all_tasks() == before


async def test_provider_that_returns_rejected_token_again_is_notified() -> None:
    texts = iter(["old", "new", "old", "other"])
    rejections: list[str | None] = []

    class Fickle:
        async def get_token(self, *, rejected: str | None = None) -> str:
            rejections.append(rejected)
            return next(texts)

    tokens = tokens_of(Fickle())
    assert [(await tokens.get()).text, (await tokens.get()).text] == ["old", "new"]
    assert (await tokens.renew(BearerToken("old"))).text == "other"
    assert rejections == [None, None, None, "old"]


async def test_renewal_cancelled_by_another_is_authentication_error() -> None:
    """The caller was not cancelled, so it gets no CancelledError; a single cancellation starts the renewal again."""

    runs: list[asyncio.Task[Any] | None] = []

    class Hanging:
        async def get_token(self, *, rejected: str | None = None) -> str:
            if rejected is not None:
                runs.append(asyncio.current_task())
                await asyncio.get_running_loop().create_future()
            return "old"

    tokens = tokens_of(Hanging())
    renewal = asyncio.create_task(tokens.renew(await tokens.get()))
    for number in range(3):
        while len(runs) == number:
            await turns(1)
        run = runs[number]
        assert run is not None
        run.cancel()
    with pytest.raises(AuthenticationError, match="request was cancelled"):
        await renewal


async def test_renewal_runs_in_the_context_of_the_session() -> None:
    caller: contextvars.ContextVar[str] = contextvars.ContextVar("caller", default="session")

    class Noting:
        async def get_token(self, *, rejected: str | None = None) -> str:
            return f"{caller.get()}-{rejected}"

    tokens = tokens_of(Noting())
    old = await tokens.get()
    caller.set("request")
    assert (await tokens.get()).text == "request-None"
    await tokens.get()
    assert await tokens.renew(BearerToken("request-None")) == BearerToken("session-request-None")
    assert old == BearerToken("session-None")
