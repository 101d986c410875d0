import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import click
import pytest
import trustme

from schedules_async import RetryPolicy
from schedules_async.cli.service import find_secrets, make_ssl_context, open_session
from schedules_async.errors import AuthenticationError, NotFoundError, SchedulesError, TransportError
from schedules_async.events import Event, Retried
from schedules_async.testing import FakeSchedules, fault, operation_answer

BY_TOKEN = {"SCHEDULES_TOKEN": " some-token\n"}
BY_SECRET = {
    "SCHEDULES_CLIENT_ID": "some-client",
    "SCHEDULES_CLIENT_SECRET": "some-secret",
    "SCHEDULES_TOKEN_URL": "https://identity.invalid/token",
}
API = "https://api.invalid"
DEFAULT, ONCE = RetryPolicy(), RetryPolicy(attempts=1)
VARIABLES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE")


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Set these of the variables that credentials, proxies and certificates come from, and no others."""
    before = dict(os.environ)
    for name in [name for name in before if name.upper() in VARIABLES or name.startswith("SCHEDULES_")]:
        del os.environ[name]
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@asynccontextmanager
async def serving(context: ssl.SSLContext | None = None) -> AsyncIterator[tuple[str, list[str]]]:
    """Yield the address of a server that answers everything with 418, and the first lines of its requests."""
    requests: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append((await reader.readuntil(b"\r\n\r\n")).decode().splitlines()[0])
        writer.write(b"HTTP/1.1 418 Teapot\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", requests


async def fetch(base_url: str, token: str | None = None, retry: RetryPolicy = DEFAULT) -> SchedulesError | None:
    """Return the error of a fetch."""
    async with open_session(base_url, token, retry) as session:
        try:
            await session.get_operation("s", "o")
        except SchedulesError as error:
            return error
    return None


async def test_session_has_the_hooks_and_the_policy() -> None:
    events: list[Event] = []
    async with FakeSchedules() as server:
        ref = server.script_operation(fault(503), operation_answer("Started"))
        async with open_session(server.url, server.token, RetryPolicy(base=0), events.append) as session:
            await session.get_operation(*ref)
    assert [type(event) for event in events].count(Retried) == 1


async def test_unusable_base_url_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="plain http would"):
        await fetch("http://api.invalid", "some-token")


def test_secrets_are_those_of_the_command_and_environment() -> None:
    with environment(**BY_TOKEN, **BY_SECRET):
        assert find_secrets("from-file") == ("from-file", "some-token", "some-secret")
    with environment():
        assert find_secrets(None) == ()


async def test_token_file_precedes_the_variables() -> None:
    async with FakeSchedules(token="from-file") as server:
        with environment(**BY_TOKEN, **BY_SECRET):
            error = await fetch(server.url, "from-file")
    assert isinstance(error, NotFoundError)


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({}, "no token: set SCHEDULES_TOKEN, or SCHEDULES_CLIENT_ID and SCHEDULES_CLIENT_SECRET"),
        ({"SCHEDULES_CLIENT_ID": "x"}, "SCHEDULES_CLIENT_SECRET is not set"),
        ({"SCHEDULES_CLIENT_ID": "x", "SCHEDULES_CLIENT_SECRET": "canary"}, "identity server of .* is unknown: set"),
    ],
)
async def test_missing_credentials_are_a_usage_error(variables: dict[str, str], sentence: str) -> None:
    with (
        environment(**variables),
        pytest.raises(click.UsageError, match=rf"{sentence}.* \(see also --token-file\)") as raised,
    ):
        await fetch(API)
    assert "canary" not in str(raised.value)


@pytest.mark.parametrize(
    ("variables", "asked"), [(BY_TOKEN, "CONNECT api.invalid:443"), (BY_SECRET, "CONNECT identity.invalid:443")]
)
async def test_proxy_of_environment_serves_api_and_identity(variables: dict[str, str], asked: str) -> None:
    async with serving() as (proxy, requests):
        with environment(**variables, HTTPS_PROXY=f"http://{proxy}"):
            error = await fetch(API, retry=ONCE)
    assert isinstance(error, TransportError | AuthenticationError)
    assert {request.removesuffix(" HTTP/1.1") for request in requests} == {asked}


@pytest.mark.parametrize("is_secret", [False, True])
@pytest.mark.parametrize("excepted", ["127.0.0.1", "127.0.0.1:{port}"])
async def test_host_in_no_proxy_is_asked_directly(excepted: str, *, is_secret: bool) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    async with serving() as (proxy, proxied), serving(context) as (address, requests):
        no_proxy = excepted.format(port=address.partition(":")[2])
        variables = {**BY_SECRET, "SCHEDULES_TOKEN_URL": f"https://{address}/token"} if is_secret else BY_TOKEN
        with (
            authority.cert_pem.tempfile() as path,
            environment(**variables, HTTPS_PROXY=f"http://{proxy}", NO_PROXY=no_proxy, SSL_CERT_FILE=path),
        ):
            error = await fetch(f"https://{address}", retry=ONCE)
    assert "418" in str(error)
    assert (proxied, requests) == (
        [],
        ["POST /token HTTP/1.1" if is_secret else "GET /schedules/s/operations/o HTTP/1.1"],
    )


async def test_certificate_outside_the_file_is_rejected() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    async with serving(context) as (address, requests):
        with trustme.CA().cert_pem.tempfile() as path, environment(**BY_TOKEN, SSL_CERT_FILE=path):
            error = await fetch(f"https://{address}", retry=ONCE)
    assert isinstance(error, TransportError)
    assert requests == []


def test_certificates_of_the_system_are_the_default() -> None:
    with environment():
        context = make_ssl_context()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


@pytest.mark.parametrize(
    ("name", "sentence"), [("none", "cannot be read: No such file or directory"), ("text", "contains no certificates")]
)
def test_unusable_certificate_file_is_a_usage_error(tmp_path: Path, name: str, sentence: str) -> None:
    (tmp_path / "text").write_text("nothing")
    with (
        environment(SSL_CERT_FILE=str(tmp_path / name)),
        pytest.raises(click.UsageError, match=rf"The file .*/{name} of \$SSL_CERT_FILE {sentence}\."),
    ):
        make_ssl_context()
