"""A fake service and a fake clock for testing applications that use `schedules_async`.

`FakeSchedules` is a real HTTP server on the loopback for the whole contract: tags that change with the representation,
304, 401, 404, and a quota with 429. Operations proceed in time (`FakeSchedules.start_operation`) or follow a script,
answer by answer. On a `FakeClock` hours pass in milliseconds; the session needs the same clock as the server, which
`FakeSchedules.session` passes to it.

>>> import asyncio
>>> async def code_under_test(session, ref):
...     return str(await session.wait_for_operation(ref, timeout=7200))
>>> async def wait_for_an_hour():
...     async with FakeSchedules(clock=FakeClock()) as server, server.session() as session:
...         ref = server.start_operation(3600, schedule_id="schedule", operation_id="1", fails_with="The disk is full.")
...         return await code_under_test(session, ref)
>>> asyncio.run(wait_for_an_hour())
Traceback (most recent call last):
schedules_async.OperationFailedError: schedule/1 failed: The disk is full.

Scripts are made of `operation_answer`, `not_modified`, `throttled`, `fault` and `Answer`, and of what no service should
send: `raw` bytes, `reset`, `stall` and `cut_body`. The last answer is repeated.

>>> async def survive():
...     async with FakeSchedules(clock=FakeClock()) as server, server.session() as session:
...         started = operation_answer("Started", percent_complete=40)
...         ref = server.script_operation(started, throttled(retry_after=600), reset(), operation_answer("Succeeded"))
...         operation = await session.wait_for_operation(ref)
...         return operation.raw_status, len(server.requests), server.clock.monotonic() >= 600
>>> asyncio.run(survive())
('Succeeded', 4, True)

With pytest, the fixtures `fake_schedules` (the server, on a fake clock) and `schedules_session` (a session that talks
to it) are available once the package is installed with pytest-asyncio (0.24 or later) or anyio. Both are new for
each test and run on its event loop, also while freezegun or time-machine has stopped the time. `-p no:schedules_async`
disables them; the package itself is imported only when one is used.

Code that creates its session itself, from a URL and a token, runs in real time: start a `FakeSchedules()` without a
clock, and pass it `server.url` and `server.token`. Within a plain `with` the server runs in a thread, for synchronous
code. It is an identity server too: `FakeSchedules.credentials` returns credentials that it accepts, and `token_life`,
`interrupt_tokens` and `reject_token` disturb their tokens. `requests` and `token_requests` list what it
received.
"""

from schedules_async._exports import name_exports
from schedules_async.testing.answers import (
    Answer,
    cut_body,
    fault,
    not_modified,
    operation_answer,
    raw,
    reset,
    stall,
    throttled,
)
from schedules_async.testing.fake_clock import FakeClock
from schedules_async.testing.fake_server import FakeSchedules
from schedules_async.testing.protocol import ReceivedRequest

__all__ = [
    "Answer",
    "FakeClock",
    "FakeSchedules",
    "ReceivedRequest",
    "cut_body",
    "fault",
    "not_modified",
    "operation_answer",
    "raw",
    "reset",
    "stall",
    "throttled",
]

name_exports(__name__, globals(), __all__)
