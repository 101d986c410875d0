"""Apache as the proxy of the environment, nginx with TLS behind it: the settings of the borrowed session apply."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from environment import environment

from schedules_async import RetryPolicy, SchedulesSession, TransportError
from servers.running import SCHEDULE, Server, Site, free_ports

pytestmark = pytest.mark.servers

TOKEN = "token-for-the-origin-alone"
ONCE = RetryPolicy(attempts=1)


@pytest.fixture
async def http(trusting: ssl.SSLContext) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(trust_env=True, connector=aiohttp.TCPConnector(ssl=trusting)) as http:
        yield http


def read_log(path: Path) -> list[str]:
    """Return the lines of Apache's log, which it writes at the end of a tunnel."""
    until = time.monotonic() + 30
    while not path.read_text(encoding="utf-8") and time.monotonic() < until:
        time.sleep(0.01)
    return path.read_text(encoding="utf-8").splitlines()


async def test_request_uses_the_proxy_and_withholds_the_token(
    nginx: Server, apache: Server, site: Site, http: aiohttp.ClientSession
) -> None:
    ref = site.publish("through a proxy", "Started", 10)
    with environment(https_proxy=apache.url("PROXY"), no_proxy=""):
        async with SchedulesSession(TOKEN, base_url=nginx.url("GOOD", "https"), http=http) as session:
            first = await session.get_operation(*ref)
            assert first.percent_complete == 10
            assert await session.get_operation(*ref) is first
    await http.close()
    assert await asyncio.to_thread(read_log, apache.home / "proxy.log") == ["CONNECT 200 -"]


async def test_certificate_is_checked_through_the_proxy(
    nginx: Server, apache: Server, http: aiohttp.ClientSession
) -> None:
    with environment(https_proxy=apache.url("PROXY"), no_proxy=""):
        async with SchedulesSession(TOKEN, base_url=nginx.url("EXPIRED", "https"), http=http) as session:
            with pytest.raises(TransportError) as caught:
                await session.get_operation(SCHEDULE, "operation")
            assert not caught.value.is_transient
            assert session.stats.requests == 1


@pytest.mark.parametrize("login", ["somebody:secret@", "somebody:wrong@", ""])
async def test_proxy_may_require_authentication(
    nginx: Server, apache: Server, site: Site, http: aiohttp.ClientSession, login: str
) -> None:
    ref = site.publish("through a guarded proxy", "Started", 10)
    proxy = apache.url("GUARDED").replace("//", f"//{login}")
    with environment(https_proxy=proxy, no_proxy=""):
        async with SchedulesSession(TOKEN, base_url=nginx.url("GOOD", "https"), http=http, retry=ONCE) as session:
            if "secret" in login:
                assert (await session.get_operation(*ref)).percent_complete == 10
            else:
                with pytest.raises(TransportError, match="Proxy Authentication Required") as caught:
                    await session.get_operation(*ref)
                assert TOKEN not in repr((caught.value, caught.value.__cause__, caught.value.__context__))


async def test_proxy_without_the_service_is_a_transport_error(apache: Server, http: aiohttp.ClientSession) -> None:
    nobody = f"https://127.0.0.1:{free_ports(1)[0]}"
    with environment(https_proxy=apache.url("PROXY"), no_proxy=""):
        async with SchedulesSession(TOKEN, base_url=nobody, http=http, retry=ONCE) as session:
            with pytest.raises(TransportError):
                await session.get_operation(SCHEDULE, "operation")


async def test_host_excepted_from_the_proxy_is_reached_directly(
    nginx: Server, site: Site, http: aiohttp.ClientSession
) -> None:
    ref = site.publish("past the proxy", "Started", 10)
    with environment(https_proxy=f"http://127.0.0.1:{free_ports(1)[0]}", no_proxy="127.0.0.1"):
        async with SchedulesSession(TOKEN, base_url=nginx.url("GOOD", "https"), http=http) as session:
            assert (await session.get_operation(*ref)).percent_complete == 10
