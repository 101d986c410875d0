"""Fetch each answer of a hostile server, and print its outcome and by how much the memory grew.

Run: python measure_memory.py URL NAME... (test_hostile.py does; Linux). Each answer is taken by a fork of this
process, whose memory nothing has touched.
"""

import asyncio
import json
import os
import sys
from pathlib import Path

from schedules_async import RateLimit, RetryPolicy, SchedulesError, SchedulesSession

TIMEOUT = 0.25  # seconds for one attempt: enough to take hundreds of megabytes without a bound
REST = 0.5  # seconds for what comes after a good answer


def read_memory(name: str) -> int:
    """Return VmRSS (resident now) or VmHWM (the peak so far) in kB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


async def fetch(session: SchedulesSession, name: str) -> str:
    """Return the outcome of one fetch."""
    try:
        operation = await session.get_operation(name, "operation")
    except SchedulesError as error:
        return type(error).__name__
    return operation.status


async def measure(url: str, name: str) -> None:
    """Print a line of JSON."""
    once, unlimited = RetryPolicy(attempts=1), (RateLimit(1_000_000, 1),)
    async with SchedulesSession(
        "token", base_url=url, request_timeout=TIMEOUT, retry=once, rate_limits=unlimited
    ) as session:
        await fetch(session, "good")
        before = read_memory("VmRSS")
        outcome = await fetch(session, name)
        await asyncio.sleep(0 if outcome.endswith("Error") else REST)
        sys.stdout.write(json.dumps([name, outcome, read_memory("VmHWM") - before]) + "\n")


def main(url: str, *names: str) -> int:
    """Measure each named answer in turn; return the number of failures."""
    failed = 0
    for name in names:
        child = os.fork()
        if child == 0:
            asyncio.run(measure(url, name))
            return 0
        failed += os.waitpid(child, 0)[1] != 0
    return failed


sys.exit(main(*sys.argv[1:]))
