"""The participants of herd.py: the project, other released libraries with their own defaults, and two simple loops.

Each is an async context manager that takes the server's URL and the operations' names and yields a function that
waits for one. A library that is not installed raises ImportError.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial
from importlib import import_module
from typing import Any

import aiohttp
from attrs import frozen
from herd_server import QUOTA, WINDOW

from schedules_async import PollingPolicy, RateLimit, SchedulesSession

EVERY = 1  # seconds between two polls
NAIVE_RATE = 10
Wait = Callable[[str], Awaitable[object]]
Open = Callable[[str, list[str]], AbstractAsyncContextManager[Wait]]


@frozen
class Participant:
    """One line of the table; `packages` are the ones that it needs in addition."""

    name: str
    open: Open
    packages: tuple[str, ...] = ()


@asynccontextmanager
async def _ours(url: str, _: list[str], *, polling: PollingPolicy, limits: Sequence[RateLimit]) -> AsyncIterator[Wait]:
    async with SchedulesSession("token", base_url=url, polling=polling, rate_limits=limits) as session:
        yield partial(session.wait_for_operation, "herd")


@asynccontextmanager
async def _azure(url: str, names: list[str]) -> AsyncIterator[Wait]:
    """Poll as generated Azure clients do, whose `begin_…` returns an AsyncLROPoller with AsyncLROBasePolling."""
    core, policies = import_module("azure.core"), import_module("azure.core.pipeline.policies")
    rest, polling = import_module("azure.core.rest"), import_module("azure.core.polling")
    method = import_module("azure.core.polling.async_base_polling").AsyncLROBasePolling
    async_retry = policies.AsyncRetryPolicy()
    chain = [policies.RequestIdPolicy(), policies.UserAgentPolicy("herd"), async_retry]
    async with core.AsyncPipelineClient(base_url=url, policies=chain) as client:
        requests = {name: rest.HttpRequest("POST", f"{url}/azure/start/{name}") for name in names}
        started = {
            name: await client.send_request(request, _return_pipeline_response=True)
            for name, request in requests.items()
        }

        def wait(name: str) -> Awaitable[object]:
            poller = polling.AsyncLROPoller(client, started[name], lambda _: name, method(EVERY))
            result: Awaitable[object] = poller.result()
            return result

        yield wait


@asynccontextmanager
async def _google(url: str, _: list[str]) -> AsyncIterator[Wait]:
    """Poll as Google's generated clients do: `operation_async.from_gapic` over the REST operations client."""
    auth, retrying = import_module("google.auth.aio.credentials"), import_module("google.api_core.retry_async")
    transports = import_module("google.api_core.operations_v1.transports.rest_asyncio")
    operations = import_module("google.api_core.operations_v1")
    futures = import_module("google.api_core.operation_async")
    messages, empty = import_module("google.longrunning.operations_pb2"), import_module("google.protobuf.empty_pb2")
    predicate = import_module("google.api_core.future.async_future").RETRY_PREDICATE
    transport = transports.AsyncOperationsRestTransport(
        host=url, path_prefix="google", credentials=auth.AnonymousCredentials()
    )
    client = operations.AsyncOperationsRestClient(transport=transport)
    every = retrying.AsyncRetry(predicate=predicate, initial=EVERY, maximum=EVERY, multiplier=1)

    def wait(name: str) -> Awaitable[object]:
        operation = messages.Operation(name=f"herd/operations/{name}")
        result: Awaitable[object] = futures.from_gapic(operation, client, empty.Empty, retry=every).result()
        return result

    yield wait
    await transport._session.close()  # its own close is not implemented


@asynccontextmanager
async def _fal(url: str, _: list[str]) -> AsyncIterator[Wait]:
    """Poll as fal's client does for a submitted request, with its handle's `iter_events`."""
    fal, httpx = import_module("fal_client"), import_module("httpx")

    async with httpx.AsyncClient(timeout=120) as client:

        async def wait(name: str) -> None:
            address = f"{url}/fal/{name}"
            handle = fal.AsyncRequestHandle(name, address, address, address, client)
            async for _ in handle.iter_events(interval=EVERY):
                pass

        yield wait


@asynccontextmanager
async def _boto(url: str, _: list[str]) -> AsyncIterator[Wait]:
    """Poll as AWS's clients do, with a waiter and adaptive retries."""
    session = import_module("aiobotocore.session").get_session()
    config = import_module("aiobotocore.config").AioConfig(retries={"mode": "adaptive"}, max_pool_connections=100)
    address = f"{url}/dynamodb"
    secrets = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    async with session.create_client("dynamodb", endpoint_url=address, config=config, **secrets) as client:
        options = {"Delay": EVERY, "MaxAttempts": 1_000_000}
        yield lambda name: client.get_waiter("table_exists").wait(TableName=name, WaiterConfig=options)


@asynccontextmanager
async def _naive(
    url: str, _: list[str], *, limiter: AbstractAsyncContextManager[Any] | None = None
) -> AsyncIterator[Wait]:
    """Poll every second; sleep for a Retry-After."""
    rate = limiter or nullcontext()
    async with aiohttp.ClientSession() as http:

        async def wait(name: str) -> None:
            while True:
                async with rate, http.get(f"{url}/schedules/herd/operations/{name}") as response:
                    answer = await response.json()
                if response.status == 200 and answer["operation"]["status"] == "Succeeded":
                    return
                await asyncio.sleep(float(response.headers.get("Retry-After", EVERY)))

        yield wait


@asynccontextmanager
async def _limited(url: str, names: list[str]) -> AsyncIterator[Wait]:
    """Poll every second, with a rate limit for all waits together."""
    limiter = import_module("aiolimiter").AsyncLimiter(NAIVE_RATE, 1)
    async with _naive(url, names, limiter=limiter) as wait:
        yield wait


EVERY_SECOND, KNOWN = PollingPolicy.fixed(EVERY), (RateLimit(QUOTA, WINDOW),)
PARTICIPANTS = (
    Participant("every second, quota unknown", partial(_ours, polling=EVERY_SECOND, limits=())),
    Participant("every second, quota known", partial(_ours, polling=EVERY_SECOND, limits=KNOWN)),
    Participant("own policy, quota unknown", partial(_ours, polling=PollingPolicy(), limits=())),
    Participant("own policy, quota known", partial(_ours, polling=PollingPolicy(), limits=KNOWN)),
    Participant("azure-core", _azure, ("azure-core",)),
    Participant("google-api-core", _google, ("google-api-core", "google-auth", "grpcio")),
    Participant("fal-client", _fal, ("fal-client",)),
    Participant("adaptive aiobotocore", _boto, ("aiobotocore",)),
    Participant("naive loop", _naive),
    Participant(f"naive, {NAIVE_RATE}/s by aiolimiter", _limited, ("aiolimiter",)),
)
