"""Start many operations, process each as soon as it has ended, and report those that were lost."""

import asyncio

from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from schedules_async import OperationRef, SchedulesError, SchedulesSession
from schedules_async.testing import FakeSchedules


async def clone(http: ClientSession, schedule: str) -> OperationRef:
    """Request a clone; the service answers 202 with the location of the operation."""
    async with http.post("/clone", json={"schedule": schedule}) as response:
        response.raise_for_status()
        ref = OperationRef.from_response(response.headers, await response.json())
    if ref is None:
        raise RuntimeError(f"no operation was started for {schedule}")
    return ref


async def clone_all(http: ClientSession, session: SchedulesSession, schedules: list[str]) -> None:
    refs = await asyncio.gather(*(clone(http, schedule) for schedule in schedules))
    names = dict(zip(refs, schedules, strict=True))
    wait = session.wait_for_operations(refs, timeout=5, check=False)
    async for operation in wait:
        if operation.is_succeeded:
            print(f"{names[operation.ref]} is cloned and can be published; all: {wait.percent_complete:.0f} %")
    for schedule, result in zip(schedules, await wait, strict=True):
        if isinstance(result, SchedulesError):  # a timeout, or an error of the service or the network
            print(f"{schedule} was lost: {result}")
        elif result.is_failed:
            print(f"{schedule} failed: {result.failure_description}")


def make_service(server: FakeSchedules) -> web.Application:
    """Return an application with an endpoint that starts operations, as a stand-in for the service."""
    durations = {"bridge": 1, "tunnel": 2, "tower": 3, "dam": 60}
    failures = {"tunnel": "Rule 7 needs a calendar."}

    async def start(request: web.Request) -> web.Response:
        schedule = (await request.json())["schedule"]
        ref = server.start_operation(durations[schedule], fails_with=failures.get(schedule))
        return web.json_response({}, status=202, headers={"Operation-Location": server.url_of(ref)})

    application = web.Application()
    application.router.add_post("/clone", start)
    return application


async def main() -> None:
    async with (
        FakeSchedules() as server,
        TestServer(make_service(server)) as service,
        ClientSession(service.make_url("/")) as http,
        SchedulesSession(server.token, base_url=server.url) as session,
    ):
        await clone_all(http, session, ["bridge", "tunnel", "tower", "dam"])


asyncio.run(main())
