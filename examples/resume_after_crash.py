"""Survive a crash: save a wait for many at every change, and go on with it in the next process."""

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from schedules_async import OperationGroupError, SchedulesSession
from schedules_async.testing import FakeSchedules


class CheckpointFile:
    """Is replaced in one step: a crash leaves the text before or the new one, never half of it."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def load(self) -> str | None:
        return self.path.read_text(encoding="utf-8") if self.path.exists() else None

    def save(self, text: str) -> None:
        fresh = self.path.with_suffix(".new")  # in the same folder: only there is it one step
        with fresh.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.path)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


async def follow(session: SchedulesSession, file: CheckpointFile, urls: list[str]) -> None:
    """Wait for all, in as many processes as it takes."""
    saved = file.load()
    wait = session.wait_for_operations(urls) if saved is None else session.resume(saved)
    try:
        async for operation in wait:
            file.save(wait.checkpoint())
            print(f"{operation.ref.operation_id} {operation.status} {operation.percent_complete:.0f} %", flush=True)
    except OperationGroupError as error:
        print(error)
    file.remove()


async def work(path: str, base_url: str, *urls: str) -> None:
    async with SchedulesSession(os.environ["SCHEDULES_TOKEN"], base_url=base_url) as session:
        await follow(session, CheckpointFile(path), list(urls))


async def run(server: FakeSchedules, *arguments: str, kill_at: str) -> None:
    """Work in a process of its own, and kill it once it prints a text."""
    environment = {**os.environ, "SCHEDULES_TOKEN": server.token}
    command = (sys.executable, __file__, *arguments)
    process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    async for line in process.stdout:
        print(f"process {process.pid}: {line.decode().rstrip()}")
        if kill_at in line.decode():
            process.kill()
            print(f"process {process.pid} is killed")
            break
    await process.wait()


async def crash_and_resume() -> None:
    async with FakeSchedules() as server:  # stands in for the service
        urls = [server.url_of(server.start_operation(duration=seconds)) for seconds in (1, 3, 4)]
        with tempfile.TemporaryDirectory() as folder:
            arguments = (str(Path(folder, "checkpoint.json")), server.url, *urls)
            await run(server, *arguments, kill_at="Succeeded")
            await run(server, *arguments, kill_at="nothing")


if __name__ == "__main__":
    asyncio.run(work(*sys.argv[1:]) if len(sys.argv) > 1 else crash_and_resume())
