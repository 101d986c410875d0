"""Long-running operations under a quota, in the protocol of each of the benchmark's clients.

Run by herd.py. `POST /herd` starts operations with the given durations in seconds; `GET /herd` returns the numbers of
requests and of throttled ones since then; neither counts in the quota. Any other request is a poll of one operation:
it counts in the quota, and is answered with 429 and Retry-After once that is used up. Prints its port, and serves
until its input ends.
"""

import asyncio
import json
import math
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web
from attrs import define, field

from schedules_async._operations.ref import OperationRef
from schedules_async.testing.answers import fill_in_id, throttled
from schedules_async.testing.protocol import matches
from schedules_async.testing.simulated_operation import SimulatedOperation

QUOTA, WINDOW = 25, 1.0
ZERO = datetime.now(UTC) - timedelta(seconds=time.monotonic())
Render = Callable[[SimulatedOperation, float], Any]


def in_steps_of_five(fraction: float) -> float:
    """Return linear progress in steps of 5 percent."""
    return int(20 * fraction) * 5.0


def end_of(operation: SimulatedOperation) -> float:
    """Return the time at which an operation ends."""
    return operation.requested + operation.queued + operation.duration


def as_azure(operation: SimulatedOperation, now: float) -> object:
    """Return the body of an Azure operation resource."""
    return {"status": "Succeeded" if now >= end_of(operation) else "InProgress"}


def as_google(operation: SimulatedOperation, now: float) -> object:
    """Return the body of a google.longrunning operation."""
    name = f"herd/operations/{operation.ref.operation_id}"
    result = {"@type": "type.googleapis.com/google.protobuf.Empty"}
    return {"name": name, "done": True, "response": result} if now >= end_of(operation) else {"name": name}


def as_fal(operation: SimulatedOperation, now: float) -> object:
    """Return the body of a status of fal's queue."""
    return {"status": "COMPLETED" if now >= end_of(operation) else "IN_PROGRESS", "logs": None}


def as_dynamodb(operation: SimulatedOperation, now: float) -> object:
    """Return the body of DynamoDB's DescribeTable."""
    status = "ACTIVE" if now >= end_of(operation) else "CREATING"
    return {"Table": {"TableName": operation.ref.operation_id, "TableStatus": status}}


SHAPES: dict[str, Render] = {"azure": as_azure, "google": as_google, "fal": as_fal, "dynamodb": as_dynamodb}
THROTTLED_BODIES: dict[str, Any] = {
    "azure": {"error": {"code": "TooManyRequests", "message": "too many requests"}},
    "google": {"error": {"code": 429, "message": "too many requests", "status": "RESOURCE_EXHAUSTED"}},
    "fal": {"detail": "too many requests"},
    "dynamodb": {"__type": "com.amazonaws#ThrottlingException", "message": "too many requests"},
}


def respond(status: int, body: object, headers: dict[str, str]) -> web.Response:
    """Return a JSON response."""
    return web.Response(status=status, body=json.dumps(body).encode(), headers=headers, content_type="application/json")


@define(eq=False)
class Herd:
    """The operations, and counts of the requests for them."""

    _operations: dict[str, SimulatedOperation] = field(init=False, factory=dict)
    _accepted: Counter[float] = field(init=False, factory=Counter)  # by start of the window
    _requests: int = field(init=False, default=0)
    _throttled: int = field(init=False, default=0)

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request."""
        if request.path == "/herd":
            return respond(200, self._start(await request.json()) if request.method == "POST" else self._counts(), {})
        if request.path.startswith("/azure/start/"):
            return respond(202, {}, {"Operation-Location": str(request.url).replace("/start/", "/operations/")})
        return await self._poll(request)

    def _start(self, durations: list[float]) -> dict[str, float]:
        """Start operations and return the time at which each ends."""
        now = time.monotonic()
        self._requests = self._throttled = 0
        self._operations = {
            f"operation-{number}": SimulatedOperation(
                OperationRef("herd", f"operation-{number}"), ZERO, now, 0.0, duration, in_steps_of_five
            )
            for number, duration in enumerate(durations)
        }
        return {name: end_of(operation) for name, operation in self._operations.items()}

    def _counts(self) -> dict[str, int]:
        return {"requests": self._requests, "throttled": self._throttled}

    async def _poll(self, request: web.BaseRequest) -> web.StreamResponse:
        now, shape = time.monotonic(), request.path.split("/")[1]
        self._requests += 1
        name = (await request.json())["TableName"] if shape == "dynamodb" else request.path.split("/")[-1]
        start = now // WINDOW * WINDOW
        if self._accepted[start] >= QUOTA:
            self._throttled += 1
            return self._throttle(shape, max(math.ceil(start + WINDOW - now), 1))
        self._accepted[start] += 1
        operation = self._operations[name]
        if shape in SHAPES:
            return respond(200, SHAPES[shape](operation, now), {})
        return self._as_schedules(request, operation, now)

    def _throttle(self, shape: str, wait: float) -> web.Response:
        answer = throttled(wait)
        after = {"Retry-After": dict(answer.headers)["retry-after"]}
        if shape in THROTTLED_BODIES:
            return respond(429, THROTTLED_BODIES[shape], {**after, "x-amz-retry-after": str(round(1000 * wait))})
        return web.Response(status=429, body=answer.body, headers=after, content_type="application/json")

    def _as_schedules(self, request: web.BaseRequest, operation: SimulatedOperation, now: float) -> web.Response:
        answer = operation.answer(now)
        headers = dict(answer.headers)
        if matches(request.headers.get("If-None-Match"), answer.etag):
            return web.Response(status=304, headers=headers)
        body = fill_in_id(answer.body, operation.ref)
        return web.Response(body=body, headers=headers, content_type="application/json")


async def main() -> None:
    """Serve until the input ends."""
    runner = web.ServerRunner(web.Server(Herd().serve))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main())
