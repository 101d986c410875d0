"""A process that waits for many operations is killed, and another resumes from its checkpoint."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from attrs import frozen
from environment import INHERITED
from event_loops import turns

from schedules_async import OperationRef
from schedules_async._waiters.checkpoint import Checkpoint, read_checkpoint
from schedules_async.testing import FakeSchedules, operation_answer

KILLED = 1 if sys.platform == "win32" else -signal.SIGKILL
EXAMPLES = Path(__file__).parents[2] / "examples"
WORKER = """
import asyncio, sys
from resume_after_crash import CheckpointFile, wait_for_all
from schedules_async import PollingPolicy, RateLimit, SchedulesSession

async def run_worker(path, base_url, *urls):
    options = {"polling": PollingPolicy.fixed(0.02), "rate_limits": [RateLimit(10_000, 1)]}
    async with SchedulesSession("test-token", base_url=base_url, **options) as session:
        await wait_for_all(session, CheckpointFile(path), list(urls))

asyncio.run(run_worker(*sys.argv[1:]))
"""


def start_operation(server: FakeSchedules, polls: int) -> OperationRef:
    """Start an operation that advances with each poll, so that the test depends on no clock; every fourth fails."""
    steps = [
        operation_answer("Started", percent_complete=step, etag=f'"{step}"', is_conditional=True)
        for step in range(polls)
    ]
    end = operation_answer("Succeeded" if polls % 4 else "Failed")
    return server.script_operation(*steps, end)


Process = subprocess.Popen[str]


def start(server: FakeSchedules, path: Path, refs: list[OperationRef]) -> Process:
    """Start a worker; not by asyncio, which on Python 3.12 changes the process-wide warning filters for it."""
    arguments = (str(path), server.url, *map(server.url_of, refs))
    command = (sys.executable, "-W", "error", "-c", WORKER, *arguments)
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=EXAMPLES, env=INHERITED
    )


async def kill_after(requests: int, server: FakeSchedules, process: Process) -> None:
    """Kill the process after a number of requests, then let the server read what it had sent."""
    while len(server.requests) < requests:
        assert process.poll() is None
        await asyncio.sleep(0.001)
    process.kill()
    await asyncio.to_thread(process.communicate)
    assert process.returncode == KILLED
    await turns(50)


@frozen
class Resumed:
    """The checkpoint that the first process left, and what the second one sent, returned and printed."""

    refs: list[OperationRef]
    saved: Checkpoint
    tags: dict[OperationRef | None, str | None]
    exit_code: int
    lines: list[str]
    errors: str
    leaves_file: bool


async def kill_and_resume_in(folder: Path) -> Resumed:
    path = folder / "checkpoint.json"
    async with FakeSchedules() as server:
        refs = [start_operation(server, polls) for polls in range(2, 10)]
        await kill_after(32, server, start(server, path, refs))
        saved, before = read_checkpoint(path.read_text(encoding="utf-8")), len(server.requests)
        second = start(server, path, refs)
        output, errors = await asyncio.to_thread(second.communicate)
    tags = {request.ref: request.if_none_match for request in reversed(server.requests[before:])}
    return Resumed(refs, saved, tags, second.returncode, output.splitlines(), errors, path.exists())


def kill_and_resume() -> Resumed:
    with TemporaryDirectory() as folder:
        return asyncio.run(kill_and_resume_in(Path(folder)))


@pytest.mark.parametrize("early", [kill_and_resume], indirect=True)
def test_killed_process_is_resumed_with_saved_etags(early: Resumed) -> None:
    saved = early.saved.saved
    ended = {ref for ref in early.refs if saved[ref].is_done}
    assert 0 < len(ended) < len(early.refs)
    assert (early.exit_code, early.errors) == (0, "")
    assert early.tags == {ref: saved[ref].etag for ref in early.refs if ref not in ended}
    ends = [line.split()[0] for line in early.lines if "Succeeded" in line or "Failed" in line]
    assert sorted(ends) == sorted(ref.operation_id for ref in early.refs)
    assert early.lines[-1].startswith("2 of 8 operations did not succeed")
    assert not early.leaves_file
