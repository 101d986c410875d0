"""Save a wait for many operations after every change, and resume it in another process after a crash."""

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from schedules_async import CheckpointFile, OperationGroupError, SchedulesSession
from schedules_async.testing import FakeSchedules


async def wait_for_all(session: SchedulesSession, file: CheckpointFile, urls: list[str]) -> None:
    """Wait for all operations; resume from the checkpoint if there is one."""
    saved = file.load()
    wait = session.wait_for_operations(urls) if saved is None else session.resume(saved)
    try:
        async for operation in wait:
            file.save(wait)
            print(f"{operation.ref.operation_id} {operation.status} {operation.percent_complete:.0f} %", flush=True)
    except OperationGroupError as error:
        print(error)
    file.remove()


async def run_worker(path: str, base_url: str, *urls: str) -> None:
    async with SchedulesSession(os.environ["SCHEDULES_TOKEN"], base_url=base_url) as session:
        await wait_for_all(session, CheckpointFile(path), list(urls))


async def start_worker(server: FakeSchedules, *arguments: str, kill_at: str) -> None:
    """Run a worker in a process of its own, and kill it once it prints `kill_at`."""
    environment = {**os.environ, "SCHEDULES_TOKEN": server.token}
    command = (sys.executable, __file__, *arguments)
    process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    async for line in process.stdout:
        print(f"process {process.pid}: {line.decode().rstrip()}")
        if kill_at in line.decode():
            process.kill()
            print(f"process {process.pid} was killed")
            break
    await process.wait()


async def crash_and_resume() -> None:
    async with FakeSchedules() as server:  # replaces the service
        urls = [server.url_of(server.start_operation(duration=seconds)) for seconds in (1, 3, 4)]
        with tempfile.TemporaryDirectory() as folder:
            arguments = (str(Path(folder, "checkpoint.json")), server.url, *urls)
            await start_worker(server, *arguments, kill_at="Succeeded")
            await start_worker(server, *arguments, kill_at="nothing")


if __name__ == "__main__":
    asyncio.run(run_worker(*sys.argv[1:]) if len(sys.argv) > 1 else crash_and_resume())
