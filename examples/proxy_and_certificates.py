"""Reach the service through a proxy, and trust a certificate authority of your own.

    python examples/proxy_and_certificates.py [--proxy http://HOST:PORT] [--authority FILE.pem] OPERATION ...

Each OPERATION is `SCHEDULE_ID/OPERATION_ID` or a URL; the credentials are read from SCHEDULES_CLIENT_ID and
SCHEDULES_CLIENT_SECRET. Without operations it uses an embedded server.
"""

import argparse
import asyncio
import os
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import aiohttp

from schedules_async import PRODUCTION, ClientCredentials, Environment, SchedulesSession
from schedules_async.testing import FakeSchedules


@asynccontextmanager
async def open_session(
    client_id: str, secret: str, service: Environment, proxy: str | None, authority: str | None
) -> AsyncGenerator[SchedulesSession, None]:
    """Open a session whose requests, including those for tokens, use the proxy and trust the authority."""
    context = ssl.create_default_context()
    if authority is not None:
        context.load_verify_locations(authority)  # in addition to the authorities of the system
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(connector=connector, proxy=proxy) as http:
        credentials = ClientCredentials(client_id, secret, token_url=service.token_url, http=http)
        async with SchedulesSession(credentials, base_url=service, http=http) as session:
            yield session


async def wait_for_all(operations: list[str], proxy: str | None, authority: str | None) -> None:
    client_id, secret = os.environ["SCHEDULES_CLIENT_ID"], os.environ["SCHEDULES_CLIENT_SECRET"]
    async with open_session(client_id, secret, PRODUCTION, proxy, authority) as session:
        for operation in await session.wait_for_operations(operations):
            print(operation)


async def use_embedded_server(proxy: str | None, authority: str | None) -> None:
    async with FakeSchedules() as server:
        service = Environment(server.url, server.token_url)
        async with open_session(server.client_id, server.client_secret, service, proxy, authority) as session:
            print(await session.wait_for_operation(server.start_operation(duration=1)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("operations", nargs="*", metavar="OPERATION")
    parser.add_argument("--proxy", help="the URL of the proxy, with user name and password if it requires them")
    parser.add_argument("--authority", help="a file with the certificates of the authority")
    options = parser.parse_args()
    if options.operations:
        asyncio.run(wait_for_all(**vars(options)))
    else:
        asyncio.run(use_embedded_server(options.proxy, options.authority))
