"""schemathesis finds nothing in the fake server that the description of the resource does not allow."""

import asyncio
import sys
from collections import Counter
from pathlib import Path

import pytest

from schedules_async.testing import FakeSchedules, operation_answer
from servers.running import HERE, SCHEDULE, need_module

pytestmark = pytest.mark.servers

ANY_ID = "{type: string, minLength: 1}"
IDS = ("running", "queued", "failed", "unknown", "a/b", "é ü")


async def run_schemathesis(server: FakeSchedules, description: Path) -> tuple[int, str]:
    """Return the exit code and the output."""
    need_module("schemathesis")
    command = [sys.executable, "-m", "schemathesis.cli", "run", str(description), "--url", server.url]
    options = ["-H", f"Authorization: Bearer {server.token}", "--checks", "all", "--seed", "1", "--max-examples", "40"]
    child = await asyncio.create_subprocess_exec(
        *command, *options, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=description.parent
    )
    try:
        output, _ = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
    return await child.wait(), output.decode(errors="replace")


def start_operations(server: FakeSchedules) -> None:
    for operation_id in IDS:
        server.start_operation(3600, schedule_id=SCHEDULE, operation_id=operation_id)
    server.start_operation(3600, queued=3600, schedule_id=SCHEDULE, operation_id="queued")
    server.start_operation(0, fails_with="The disk is full.", schedule_id=SCHEDULE, operation_id="failed")
    unknown = operation_answer("Unknown", etag='W/"weak"', created_at=None, is_conditional=True)
    server.script_operation(unknown, schedule_id=SCHEDULE, operation_id="unknown")


@pytest.mark.parametrize(
    ("is_known", "quota", "expected"),
    [(False, None, {401, 404}), (True, None, {200, 304, 401}), (True, 60, {200, 429})],
)
async def test_fake_server_conforms_to_the_description(
    tmp_path: Path, is_known: bool, quota: int | None, expected: set[int]
) -> None:
    """With random ids, with existing ones, and with a small quota."""
    text = (HERE / "openapi.yaml").read_text(encoding="utf-8")
    if is_known:
        text = text.replace(ANY_ID, f"{{type: string, enum: [{SCHEDULE}]}}", 1)
        text = text.replace(ANY_ID, f"{{type: string, enum: [{', '.join(IDS)}]}}", 1)
    description = tmp_path / "openapi.yaml"
    description.write_text(text, encoding="utf-8")
    async with FakeSchedules(quota=quota, window=3600) as server:
        start_operations(server)
        code, output = await run_schemathesis(server, description)
        statuses = Counter(request.status for request in server.requests)
    assert code == 0, output
    assert statuses.keys() >= expected, (statuses, output)
