"""Sessions out of the environment: the token or client credentials and the service of the command's variables."""

import asyncio

import aiohttp
import pytest
from environment import environment

from schedules_async import DEV, PRODUCTION, QA, ClientCredentials, MalformedResponseError, SchedulesSession
from schedules_async._auth.variables import read_auth
from schedules_async.testing import FakeSchedules

UNSET = dict.fromkeys(["SCHEDULES_TOKEN", "SCHEDULES_CLIENT_ID", "SCHEDULES_CLIENT_SECRET", "SCHEDULES_TOKEN_URL"], "")
CLIENT = {"SCHEDULES_CLIENT_ID": "test-client", "SCHEDULES_CLIENT_SECRET": "test-secret"}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, DEV.api_url),
        ({"SCHEDULES_BASE_URL": " "}, DEV.api_url),
        ({"SCHEDULES_BASE_URL": PRODUCTION.api_url}, PRODUCTION.api_url),
    ],
)
def test_base_url_is_dev_unless_named(variables: dict[str, str], expected: str) -> None:
    with environment(SCHEDULES_TOKEN="token", **variables):
        assert repr(SchedulesSession.from_env()) == f"<SchedulesSession {expected}>"


def test_token_goes_before_client_credentials() -> None:
    with environment(SCHEDULES_TOKEN=" token\n", **CLIENT):
        assert read_auth(DEV.api_url) == "token"


@pytest.mark.parametrize(
    ("variables", "base_url", "token_url"),
    [
        ({}, DEV.api_url, DEV.token_url),
        ({}, f"{QA.api_url}/", QA.token_url),
        ({}, f"{PRODUCTION.api_url}/prefix", PRODUCTION.token_url),
        ({"SCHEDULES_TOKEN_URL": "https://ims.example/token"}, "https://api.example", "https://ims.example/token"),
        ({"SCHEDULES_TOKEN_URL": "https://ims.example/token"}, DEV.api_url, "https://ims.example/token"),
    ],
)
def test_client_credentials_belong_to_the_service(variables: dict[str, str], base_url: str, token_url: str) -> None:
    with environment(**{**UNSET, **CLIENT, **variables}):
        credentials = read_auth(base_url)
    assert isinstance(credentials, ClientCredentials)
    assert repr(credentials) == f"<ClientCredentials test-client at {token_url}>"


@pytest.mark.parametrize(
    ("variables", "base_url", "missing"),
    [
        ({}, DEV.api_url, "set SCHEDULES_TOKEN, or SCHEDULES_CLIENT_ID and SCHEDULES_CLIENT_SECRET"),
        ({"SCHEDULES_TOKEN": " \n"}, DEV.api_url, "set SCHEDULES_TOKEN"),
        ({"SCHEDULES_CLIENT_ID": "a"}, DEV.api_url, "SCHEDULES_CLIENT_SECRET is not set"),
        ({"SCHEDULES_CLIENT_SECRET": "a"}, DEV.api_url, "SCHEDULES_CLIENT_ID is not set"),
        (CLIENT, "https://api.example", "set SCHEDULES_TOKEN_URL"),
    ],
)
def test_missing_variable_is_named(variables: dict[str, str], base_url: str, missing: str) -> None:
    with environment(**{**UNSET, **variables}), pytest.raises(ValueError, match=missing):
        read_auth(base_url)


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"SCHEDULES_TOKEN_URL": "http://ims.example"}, "plain http would show"),
        ({"SCHEDULES_CLIENT_SECRET": "canary-\n"}, "client_secret"),
    ],
)
def test_unusable_variable_is_a_value_error(variables: dict[str, str], problem: str) -> None:
    with environment(**{**UNSET, **CLIENT, **variables}), pytest.raises(ValueError, match=problem) as raised:
        read_auth(DEV.api_url)
    assert "canary" not in str(raised.value)


@pytest.mark.parametrize(
    ("base_url", "problem"),
    [
        ("https://user:canary@api.example", "must not carry credentials"),
        ("https://user:canary/@api.example", "is not a URL"),
        ("https://user:canary@\u2100.example", "is not a URL"),
    ],
)
def test_unusable_base_url_is_not_repeated(base_url: str, problem: str) -> None:
    with (
        environment(**{**UNSET, **CLIENT, "SCHEDULES_BASE_URL": base_url}),
        pytest.raises(ValueError, match=f"^base_url {problem}$") as raised,
    ):
        SchedulesSession.from_env()
    assert raised.value.__context__ is None


async def test_session_from_env_asks_the_named_service() -> None:
    """Options win over variables."""
    async with FakeSchedules() as server:
        with environment(SCHEDULES_TOKEN=server.token, SCHEDULES_BASE_URL=server.url):
            async with SchedulesSession.from_env(request_timeout=5) as session:
                assert (await session.get_operation(server.start_operation(0))).is_succeeded
        with environment(SCHEDULES_TOKEN="another", SCHEDULES_BASE_URL="https://api.example"):
            async with SchedulesSession.from_env(auth=server.token, base_url=server.url) as session:
                assert (await session.get_operation(server.start_operation(0))).is_succeeded


async def test_credentials_from_env_borrow_the_proxy() -> None:
    """As the session does, `http` is for both."""
    lines: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines.append((await reader.readuntil(b"\r\n\r\n")).partition(b"\r\n")[0])
        writer.write(b'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 23\r\n\r\n{"access_token": "t-1"}')
        writer.close()

    urls = {"SCHEDULES_TOKEN_URL": "http://127.0.0.1:1/token", "SCHEDULES_BASE_URL": "http://127.0.0.1:2"}
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listening:
        proxy = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        async with aiohttp.ClientSession(proxy=proxy) as http:
            with environment(**CLIENT, **urls, SCHEDULES_TOKEN=""):
                async with SchedulesSession.from_env(http=http) as session:
                    with pytest.raises(MalformedResponseError):
                        await session.get_operation("schedule", "1")
    assert lines == [
        b"POST http://127.0.0.1:1/token HTTP/1.1",
        b"GET http://127.0.0.1:2/schedules/schedule/operations/1 HTTP/1.1",
    ]
