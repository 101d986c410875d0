"""Display live bars in browsers: an aiohttp server, and a page that listens to its server-sent events.

    python examples/web_dashboard.py [SCHEDULE_ID/OPERATION_ID ...] [--port PORT] [--seconds SECONDS]

Without ids it displays operations of an embedded server. With ids it uses the service, and authenticates with
SCHEDULES_TOKEN, or SCHEDULES_CLIENT_ID and SCHEDULES_CLIENT_SECRET; set SCHEDULES_BASE_URL for any service other than
the dev API.

All browsers iterate over the same waits: a hundred browsers cause as many requests as one, a new browser receives the
state at once, an operation that has ended causes no further requests, and nothing is polled without a browser.
"""

import argparse
import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from aiohttp import web

from schedules_async import OperationRef, OperationWaiter, PollingPolicy, SchedulesError, SchedulesSession
from schedules_async.testing import FakeSchedules

PAGE = Path(__file__).with_suffix(".html")
HEARTBEAT = 10.0  # seconds; the page reconnects after a longer silence
FREQUENT = PollingPolicy(cost=0.02, min_interval=0.5, max_interval=1.0, max_predicted_interval=1.0)


def stop_at_63_percent(share: float) -> float:
    return 63 * share


SHOW: tuple[dict[str, Any], ...] = (
    {
        "operation_id": "clone-schedule",
        "duration": 50,
        "sub_status": ("Reading tasks", "Copying tasks", "Copying links"),
    },
    {"operation_id": "import-baselines", "duration": 70, "progress": "steps", "sub_status": "Reading baselines"},
    {"operation_id": "calculate-dates", "duration": 40, "progress": "none", "sub_status": "Calculating"},
    {
        "operation_id": "check-rules",
        "duration": 30,
        "progress": stop_at_63_percent,
        "fails_with": "Rule 7 needs a calendar.",
    },
    {"operation_id": "export-report", "duration": 20, "sub_status": ("Collecting", "Writing", "Compressing")},
    {"operation_id": "archive", "duration": 60, "queued": 30, "sub_status": "Packing"},
)


class Dashboard:
    """The page, and a stream of events for each browser."""

    def __init__(self, session: SchedulesSession, refs: Sequence[OperationRef]) -> None:
        self.session = session
        self.refs = refs
        self.waiters: dict[OperationRef, OperationWaiter] = {}  # shared by all browsers, created for the first one

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes([web.get("/", self.page), web.get("/events", self.events)])
        return app

    def waiter_for(self, ref: OperationRef) -> OperationWaiter:
        if ref not in self.waiters:
            self.waiters[ref] = self.session.wait_for_operation(ref, check=False)
        return self.waiters[ref]

    async def page(self, _: web.Request) -> web.FileResponse:
        return web.FileResponse(PAGE, headers={"Cache-Control": "no-cache"})

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Send all states at once, then each change, until the browser disconnects."""
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await stream.prepare(request)
        await send(stream, *(describe(self.waiter_for(ref)) for ref in self.refs))
        with suppress(ConnectionError):
            try:
                async with asyncio.TaskGroup() as group:
                    for ref in self.refs:
                        group.create_task(self.send_changes(stream, ref))
                    group.create_task(keep_alive(stream))
            except ExceptionGroup as errors:  # the browser has disconnected
                raise errors.exceptions[0] from None
        return stream

    async def send_changes(self, stream: web.StreamResponse, ref: OperationRef) -> None:
        waiter = self.waiter_for(ref)
        try:
            async for _ in waiter:
                await send(stream, describe(waiter))
        except SchedulesError as error:
            self.waiters.pop(ref, None)  # the next browser starts a new wait
            await send(stream, {**describe(waiter), "outcome": "lost", "text": str(error)})


async def send(stream: web.StreamResponse, *states: dict[str, object]) -> None:
    await stream.write(f"retry: 1000\ndata: {json.dumps(states)}\n\n".encode())


async def keep_alive(stream: web.StreamResponse) -> None:
    while True:
        await asyncio.sleep(HEARTBEAT)
        await send(stream)


def describe(waiter: OperationWaiter) -> dict[str, object]:
    """Return the state of an operation as the page displays it."""
    state: dict[str, object] = {"ref": str(waiter.ref), "outcome": "running", "percent": 0.0, "text": "no answer yet"}
    latest, remaining = waiter.latest, waiter.time_remaining
    if latest is None:
        return state
    if latest.is_failed:
        reached = min(max(latest.percent_complete, 0.0), 100.0)
        reason = latest.failure_description or "no reason given"
        return {**state, "outcome": "failed", "percent": reached, "text": f"{latest.raw_status}: {reason}"}
    if latest.is_succeeded:
        return {**state, "outcome": "succeeded", "percent": 100.0, "text": "Succeeded"}
    text = latest.sub_status or latest.raw_status
    bounds = remaining and [remaining.low, remaining.high]
    return {**state, "percent": 100 * latest.fraction, "text": text, "remaining": bounds}


@asynccontextmanager
async def open_operations(
    named: list[OperationRef],
) -> AsyncGenerator[tuple[SchedulesSession, list[OperationRef]], None]:
    """Yield a session and the named operations or, without any, a session and operations of an embedded server."""
    if named:
        async with SchedulesSession.from_env() as session:
            yield session, named
    else:
        async with FakeSchedules() as server, server.session(polling=FREQUENT, rate_limits=()) as session:
            yield session, [server.start_operation(schedule_id="bridge", **options) for options in SHOW]


@asynccontextmanager
async def serving(dashboard: Dashboard, port: int) -> AsyncGenerator[str, None]:
    """Serve on the loopback interface; yield the URL of the page."""
    runner = web.AppRunner(dashboard.app(), handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        host, port = runner.addresses[0]
        yield f"http://{host}:{port}/"
    finally:
        await runner.cleanup()


async def main(refs: list[OperationRef], port: int, seconds: float | None) -> None:
    async with open_operations(refs) as (session, shown), serving(Dashboard(session, shown), port) as url:
        print(f"Open {url} in any number of browsers; press Ctrl-C to stop.", flush=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("refs", nargs="*", metavar="SCHEDULE_ID/OPERATION_ID", type=OperationRef.parse)
    parser.add_argument("--port", type=int, default=0, help="default: any free port")
    parser.add_argument("--seconds", type=float, help="exit after this long")
    with suppress(KeyboardInterrupt):
        asyncio.run(main(**vars(parser.parse_args())))
