"""The proxy example: requests for tokens and operations pass a proxy, to a server of an authority of our own."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trustme
from aiohttp import web
from proxy_and_certificates import open_session

from schedules_async import AuthenticationError, Environment
from schedules_async.testing import operation_answer


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
async def service(authority: trustme.CA) -> AsyncIterator[Environment]:
    """Serve tokens and one operation over TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    app = web.Application()
    app.router.add_post("/token", answer_token)
    app.router.add_get("/schedules/s/operations/o", answer_operation)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", ssl_context=context, port=0).start()
    url = f"https://127.0.0.1:{runner.addresses[0][1]}"
    yield Environment(url, f"{url}/token")
    await runner.cleanup()


async def answer_token(_: web.Request) -> web.Response:
    return web.json_response({"access_token": "a-token", "token_type": "Bearer", "expires_in": 3600})


async def answer_operation(_: web.Request) -> web.Response:
    return web.Response(body=operation_answer("Succeeded").body.replace(b"{operation_id}", b"o"))


@asynccontextmanager
async def tunnels() -> AsyncIterator[tuple[str, list[str]]]:
    """Serve as a proxy; yield its URL and the first lines of the requests for a tunnel."""
    asked: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).decode().partition("\r\n")[0])
        host, _, port = asked[-1].split()[1].partition(":")
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
    writer.close()


async def test_proxy_and_authority_serve_tokens_and_operations(
    service: Environment, authority: trustme.CA, tmp_path: Path
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    async with (
        tunnels() as (proxy, asked),
        open_session("client", "secret", service, proxy, str(tmp_path / "authority.pem")) as session,
    ):
        assert (await session.wait_for_operation("s", "o")).is_succeeded
    host = service.api_url.removeprefix("https://")
    assert set(asked) == {f"CONNECT {host} HTTP/1.1"}


async def test_unknown_authority_is_an_error(service: Environment) -> None:
    async with open_session("client", "secret", service, None, None) as session:
        with pytest.raises(AuthenticationError, match="certificate"):
            await session.wait_for_operation("s", "o")
