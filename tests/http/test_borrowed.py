"""What is used of an aiohttp session of the caller's, and what is not."""

import asyncio
import base64
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from environment import environment
from yarl import URL

from schedules_async._http.borrowed import find_proxy, open_client

NO_LOGIN = ""


@asynccontextmanager
async def serve_proxy() -> AsyncIterator[tuple[str, list[str]]]:
    """Yield the address of a proxy, and the heads of the requests that it got."""
    heads: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b"HTTP/1.1 418 Proxy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", heads


async def ask(borrowed: aiohttp.ClientSession | None, url: str) -> int | None:
    """Return the status, None where nothing answers at the URL itself."""
    async with open_client(borrowed, find_proxy(borrowed, URL(url)), {}) as http:
        try:
            async with http.get(URL(url)) as response:
                return response.status
        except aiohttp.ClientHttpProxyError as error:
            return error.status
        except aiohttp.ClientConnectorError:
            return None


def login_in(head: str) -> str:
    fields = [line.partition(": ")[2] for line in head.split("\r\n") if line.startswith("Proxy-Authorization: ")]
    return base64.b64decode(fields[0].removeprefix("Basic ")).decode() if fields else NO_LOGIN


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/path", "https://api.example.com/path"])
@pytest.mark.parametrize("login", ["", "somebody:secret@"])
async def test_own_proxy_of_borrowed_session_is_used(url: str, login: str) -> None:
    async with serve_proxy() as (proxy, heads), aiohttp.ClientSession(proxy=f"http://{login}{proxy}") as http:
        assert await ask(http, url) == 418
    assert [login_in(head) for head in heads] == [login.removesuffix("@")]


async def test_own_proxy_auth_of_borrowed_session_is_used() -> None:
    async with serve_proxy() as (proxy, heads):
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # newer versions of aiohttp
            auth = aiohttp.BasicAuth("somebody", "se:cr@t/")
            http = aiohttp.ClientSession(proxy=f"http://{proxy}", proxy_auth=auth)
        async with http:
            assert await ask(http, "https://api.example.com/") == 418
    assert [login_in(head) for head in heads] == ["somebody:se:cr@t/"]


@pytest.mark.parametrize(
    ("scheme", "no_proxy", "url", "is_proxied"),
    [
        ("http://", "", "https://127.0.0.1:1/", True),
        ("", "", "https://127.0.0.1:1/", True),
        ("http://", "127.0.0.1", "https://127.0.0.1:1/", False),
        ("http://", "127.0.0.1:1", "https://127.0.0.1:1/", False),
        ("http://", "127.0.0.1:2", "https://127.0.0.1:1/", True),
        ("http://", "::1", "https://[::1]:1/", False),
        ("http://", "[::1]", "https://[::1]:1/", False),
        ("http://", "[::1]:1", "https://[::1]:1/", False),
        ("http://", "[::1]:2", "https://[::1]:1/", True),
        ("http://", "*", "https://127.0.0.1:1/", False),
    ],
)
async def test_environment_names_proxy_as_for_curl(scheme: str, no_proxy: str, url: str, is_proxied: bool) -> None:
    async with serve_proxy() as (proxy, heads), aiohttp.ClientSession(trust_env=True) as http:
        with environment(https_proxy=f"{scheme}user:word@{proxy}", no_proxy=no_proxy):
            assert await ask(http, url) == (418 if is_proxied else None)
    assert [login_in(head) for head in heads] == ["user:word"] * is_proxied


async def test_environment_counts_only_where_trusted() -> None:
    async with serve_proxy() as (proxy, heads), aiohttp.ClientSession() as http:
        with environment(https_proxy=f"http://{proxy}", no_proxy=""):
            assert [await ask(borrowed, "https://127.0.0.1:1/") for borrowed in (None, http)] == [None, None]
    assert heads == []


async def test_own_proxy_precedes_environment() -> None:
    async with serve_proxy() as (proxy, heads), aiohttp.ClientSession(proxy=f"http://{proxy}", trust_env=True) as http:
        with environment(https_proxy="http://127.0.0.1:1", no_proxy=""):
            assert await ask(http, "https://127.0.0.1:1/") == 418
    assert len(heads) == 1


async def test_distant_proxy_gets_no_plain_http() -> None:
    """It would read the token, and reach a service of its own machine."""
    async with aiohttp.ClientSession(proxy="http://proxy.invalid:3128") as http:
        assert await ask(http, "http://127.0.0.1:1/") is None


async def test_unreadable_proxy_is_named_without_password() -> None:
    async with aiohttp.ClientSession(trust_env=True) as http:
        with (
            environment(https_proxy="http://user:word@[proxy", no_proxy=""),
            pytest.raises(ValueError, match="HTTPS_PROXY") as caught,
        ):
            await ask(http, "https://api.example.com/")
    assert "word" not in f"{caught.value!r} {caught.value.__context__!r}"


async def test_borrowed_connector_stays_open_and_cookies_out() -> None:
    heads: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: a=b\r\nConnection: close\r\n\r\n")
        writer.close()

    options: dict[str, Any] = {"headers": {"X-Own": "1"}, "cookies": {"c": "d"}, "raise_for_status": True}
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server, aiohttp.ClientSession(**options) as http:
        for _ in range(2):
            assert await ask(http, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/") == 200
            assert not http.closed
    assert len(heads) == 2
    assert not any(name in head.lower() for head in heads for name in ("cookie", "x-own"))


async def test_closed_borrowed_session_is_an_error() -> None:
    http = aiohttp.ClientSession()
    await http.close()
    with pytest.raises(ValueError, match="the borrowed http session is closed"):
        open_client(http, None, {})
