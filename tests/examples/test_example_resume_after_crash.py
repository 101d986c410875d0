"""A process that waits for many is really killed, and another goes on from its checkpoint."""

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

from event_loops import turns

from schedules_async import OperationRef
from schedules_async._waiters.checkpoint import read_checkpoint
from schedules_async.testing import FakeSchedules, operation_answer

EXAMPLES = Path(__file__).parents[2] / "examples"
LOOK_OFTEN = """
import asyncio, sys
from resume_after_crash import CheckpointFile, follow
from schedules_async import PollingPolicy, RateLimit, SchedulesSession

async def work(path, base_url, *urls):
    often = {"polling": PollingPolicy.fixed(0.02), "rate_limits": [RateLimit(10_000, 1)]}
    async with SchedulesSession("test-token", base_url=base_url, **often) as session:
        await follow(session, CheckpointFile(path), list(urls))

asyncio.run(work(*sys.argv[1:]))
"""


def start_operation(server: FakeSchedules, polls: int) -> OperationRef:
    """Let an operation go on at each look, so that the test depends on no clock; every fourth one fails."""
    steps = [
        operation_answer("Started", percent_complete=step, etag=f'"{step}"', is_conditional=True)
        for step in range(polls)
    ]
    end = operation_answer("Succeeded" if polls % 4 else "Failed")
    return server.script_operation(*steps, end)


async def start(server: FakeSchedules, path: Path, refs: list[OperationRef]) -> Process:
    arguments = (str(path), server.url, *map(server.url_of, refs))
    command = (sys.executable, "-W", "error", "-c", LOOK_OFTEN, *arguments)
    return await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE, cwd=EXAMPLES)


async def kill_after(requests: int, server: FakeSchedules, process: Process) -> None:
    """Kill after so many requests, wherever the process is, and let the server read what it had sent."""
    while len(server.requests) < requests:
        assert process.returncode is None
        await asyncio.sleep(0.001)
    process.kill()
    await process.communicate()
    assert process.returncode == -signal.SIGKILL
    await turns(50)


async def test_a_killed_process_loses_nothing_and_the_next_asks_only_for_what_is_new(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.json"
    async with FakeSchedules() as server:
        refs = [start_operation(server, polls) for polls in range(2, 10)]
        await kill_after(32, server, await start(server, path, refs))
        saved, before = read_checkpoint(path.read_text(encoding="utf-8")), len(server.requests)
        ended = {ref for ref in refs if saved.seen[ref].is_done}
        assert 0 < len(ended) < len(refs)

        second = await start(server, path, refs)
        shown, complaints = await second.communicate()
    assert (second.returncode, complaints) == (0, b"")
    first_requests = {request.ref: request.if_none_match for request in reversed(server.requests[before:])}
    assert first_requests == {ref: saved.seen[ref].etag for ref in refs if ref not in ended}
    lines = shown.decode().splitlines()
    ends = [line.split()[0] for line in lines if "Succeeded" in line or "Failed" in line]
    assert sorted(ends) == sorted(ref.operation_id for ref in refs)
    assert lines[-1].startswith("2 of 8 operations did not succeed")
    assert not path.exists()
