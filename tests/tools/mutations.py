"""Break one guarantee at a time, in a copy of the tree, and check that a test fails each time.

    python tests/tools/mutations.py [WORD ...]

With words, only what has one of them in its name. Exits with 1 when something broken goes unnoticed, or when its text
is no longer found in the source.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from attrs import frozen

TOP = Path(__file__).parents[2]
TREE = ("schedules_async", "tests", "examples", "pyproject.toml", "README.md", "CHANGELOG.md", ".github")
LONGEST = 180  # seconds of one run
RED = 1  # pytest's exit code when tests ran and some failed


@frozen
class Mutation:
    """One text of one module, its replacement, and the tests that have to fail."""

    name: str
    module: str
    text: str
    instead: str
    tests: tuple[str, ...]


MUTATIONS = (
    Mutation(
        "gate: the newest 429 counts, not the latest time",
        "_throttling/rate_limiter",
        "        if until <= self.closed_until:\n            return False\n",
        "",
        ("throttling/test_rate_limiter",),
    ),
    Mutation(
        "gate: the newest 429 counts (for the state machine)",
        "_throttling/rate_limiter",
        "        if until <= self.closed_until:\n            return False\n",
        "",
        ("throttling/test_request_queue_machine",),
    ),
    Mutation(
        "gate: a closed one lets requests leave",
        "_throttling/rate_limiter",
        "at, credit = max(self.closed_until, now), self._credit_at(now)",
        "at, credit = now, self._credit_at(now)",
        ("throttling/test_rate_limiter", "polling/test_fetcher"),
    ),
    Mutation(
        "gate: its opening lets a burst leave",
        "_throttling/rate_limiter",
        "min(self._credit_at(until), 0.0), until",
        "self._credit_at(until), until",
        ("throttling/test_rate_limiter",),
    ),
    Mutation(
        "gate: a pause of zero forgives the debt of the rate",
        "_throttling/rate_limiter",
        "min(self._credit_at(until), 0.0), until",
        "0.0, until",
        ("throttling/test_rate_limiter",),
    ),
    Mutation(
        "gate: a pause of zero is taken as it is",
        "_polling/fetcher",
        "        if not delay:",
        "        if delay is None:",
        ("polling/test_fetcher",),
    ),
    Mutation(
        "gate: closed seconds count twice where pauses overlap",
        "_throttling/rate_limiter",
        "until - max(self.closed_until, now)",
        "until - now",
        ("throttling/test_rate_limiter",),
    ),
    Mutation(
        "gate: a request that did not leave is counted",
        "_polling/fetcher",
        '            self._counts["requests"] -= 1\n',
        "",
        ("polling/test_fetcher",),
    ),
    Mutation(
        "gate: a request leaves though it closed meanwhile",
        "_http/aiohttp_gaps",
        "            if not may_leave():\n                raise NotSentError\n",
        "",
        ("polling/test_fetcher",),
    ),
    Mutation(
        "limits: a window forgets its requests at once",
        "_throttling/rate_limiter",
        "            window.answered.append(now)",
        "            window.answered.clear()",
        ("throttling/test_rate_limiter",),
    ),
    Mutation(
        "limits: a request in flight does not count",
        "_throttling/rate_limiter",
        "if self.in_flight + len(answered) < window.limit.calls",
        "if len(answered) < window.limit.calls",
        ("throttling/test_rate_limiter", "throttling/test_request_queue_machine"),
    ),
    Mutation(
        "rate: it grows whatever holds requests back",
        "_throttling/rate_limiter",
        "self._bound_since = None  # nothing was held back",
        "self._bound_since = now",
        ("throttling/test_rate_limiter",),
    ),
    Mutation(
        "rate: it grows with every answer once it has held back",
        "_throttling/rate_limiter",
        "since, self._bound_since = self._bound_since, None",
        "since = self._bound_since",
        ("throttling/test_rate_limiter",),
    ),
    Mutation(
        "rate: it does not grow for a caller that asks one by one",
        "_throttling/rate_limiter",
        "                self._bound_since = now",
        "                self._bound_since = at",
        ("throttling/test_rate_limiter",),
    ),
    Mutation(
        "rate: it grows without bound",
        "_throttling/rate_limiter",
        "fastest[0].per if fastest else _HIGHEST_RATE",
        "fastest[0].per if fastest else math.inf",
        ("throttling/test_rate_limiter",),
    ),
    Mutation(
        "rate: idle hours measure the quota",
        "_throttling/rate_limiter",
        "            self._busy_since = None  # there",
        "            pass  # there",
        ("throttling/test_rate_limiter",),
    ),
    Mutation(
        "rate: each 429 of a round cuts it",
        "_throttling/rate_limiter",
        "if sent > self._last_cut and now",
        "if now",
        ("throttling/test_rate_limiter",),
    ),
    Mutation(
        "in flight: the limit waits for answers alone",
        "_throttling/rate_limiter",
        "at = max(at, self._last_sent + _STALLED_INTERVAL)",
        "return math.inf",
        ("throttling/test_rate_limiter",),
    ),
    Mutation(
        "in flight: the connector's limit does not count",
        "_throttling/rate_limiter",
        "if self.in_flight >= self.max_in_flight:",
        "if self.in_flight >= MAX_IN_FLIGHT:",
        ("throttling/test_rate_limiter", "http/test_transport"),
    ),
    Mutation(
        "in flight: the time in the connector's queue counts",
        "_http/transport",
        "            self._find_timeout().reschedule(None)",
        "            self._find_timeout()",
        ("http/test_transport",),
    ),
    Mutation(
        "outage: nobody slows down",
        "_throttling/rate_limiter",
        "at = max(at, self._last_sent + _PROBE_INTERVAL)",
        "at = max(at, self._last_sent)",
        ("throttling/test_rate_limiter", "polling/test_fetcher"),
    ),
    Mutation(
        "outage: an answer does not end it",
        "_throttling/rate_limiter",
        "self._faults = self.throttled_in_a_row = 0",
        "self.throttled_in_a_row = 0",
        ("throttling/test_rate_limiter",),
    ),
    Mutation(
        "outage: its end wakes nobody",
        "_polling/poller",
        "        if self._retry_at > now:",
        "        if self._retry_at < -now:",
        ("polling/test_fetcher",),
    ),
    Mutation(
        "queue: a turn is granted before it is due",
        "_throttling/request_queue",
        "if due > self.timers.now():",
        "if due < -self.timers.now():",
        ("throttling/test_request_queue", "throttling/test_request_queue_machine"),
    ),
    Mutation(
        "queue: urgent turns go first every time",
        "_throttling/request_queue",
        "not (self._was_urgent and self._others.pending)",
        "True",
        ("throttling/test_request_queue",),
    ),
    Mutation(
        "queue: urgent turns wait for those that are due",
        "_throttling/request_queue",
        "not (self._was_urgent and self._others.pending)",
        "not self._others.pending",
        ("throttling/test_request_queue", "polling/test_budget"),
    ),
    Mutation(
        "queue: first come, first served",
        "_throttling/request_queue",
        ".add(turn.deadline, turn.grant)",
        ".add(0.0, turn.grant)",
        ("throttling/test_request_queue",),
    ),
    Mutation(
        "queue: the alarm of a withdrawn turn stays",
        "_throttling/request_queue",
        "            self._queue.dispatch()  # the alarm may",
        "            pass  # the alarm may",
        ("throttling/test_request_queue",),
    ),
    Mutation(
        "queue: a withdrawn turn keeps its room",
        "_clock",
        "        if self.pending < len(self._heap) // 2:",
        "        if self.pending < 0:",
        ("throttling/test_request_queue",),
    ),
    Mutation(
        "queue: a turn given back lets nobody go",
        "_throttling/request_queue",
        "                self._queue.limiter.take_back()\n            self._queue.dispatch()",
        "                self._queue.limiter.take_back()",
        ("throttling/test_request_queue", "throttling/test_request_queue_machine"),
    ),
    Mutation(
        "queue: a turn is given back as often as asked",
        "_throttling/request_queue",
        "            self._is_held = False\n            if was_sent",
        "            if was_sent",
        ("throttling/test_request_queue",),
    ),
    Mutation(
        "queue: a turn whose request was not sent counts as sent",
        "_throttling/request_queue",
        "            if was_sent:\n",
        "            if was_sent or not was_sent:\n",
        ("throttling/test_request_queue",),
    ),
    Mutation(
        "queue: a cancelled further turn is never given back",
        "_throttling/request_queue",
        "            turn.give_back()\n            raise",
        "            raise",
        ("throttling/test_request_queue", "throttling/test_request_queue_machine"),
    ),
    Mutation(
        "poll: cancelled from outside, it cancels its callers",
        "_polling/poller",
        "self._on_cancelled() if task.cancelled()",
        "asyncio.CancelledError() if task.cancelled()",
        ("polling/test_fetcher",),
    ),
    Mutation(
        "ETag: not sent back",
        "_http/responses",
        "    if tag is not None:\n",
        "    if tag is None and tag is not None:\n",
        ("http/test_responses",),
    ),
    Mutation(
        "ETag: sent back without its W/",
        "_http/responses",
        'headers["If-None-Match"] = tag',
        'headers["If-None-Match"] = tag.removeprefix("W/")',
        ("http/test_responses",),
    ),
    Mutation(
        "ETag: a malformed one is sent back too",
        "_operations/fields",
        "    if len(fields) != 1 or not _TAG.fullmatch(fields[0]):",
        "    if len(fields) != 1:",
        ("operations/test_fields",),
    ),
    Mutation(
        "weak comparison: strong in its place",
        "_operations/fields",
        '    return one.removeprefix("W/") == other.removeprefix("W/")',
        "    return one == other",
        ("operations/test_fields", "http/test_responses"),
    ),
    Mutation(
        "weak comparison: anything fits",
        "_operations/fields",
        '    return one.removeprefix("W/") == other.removeprefix("W/")',
        "    return bool(one and other)",
        ("operations/test_fields", "http/test_responses"),
    ),
    Mutation(
        "body bound: none",
        "_http/body",
        "        if max(received, len(body)) > LARGEST_BODY:",
        "        if max(received, len(body)) > 100 * LARGEST_BODY:",
        ("http/test_transport",),
    ),
    Mutation(
        "body bound: what is compressed counts, what comes out of it does not",
        "_http/body",
        "        if max(received, len(body)) > LARGEST_BODY:",
        "        if received > LARGEST_BODY:",
        ("http/test_transport",),
    ),
    Mutation(
        "body bound: a whole bomb is decoded before it is measured",
        "_http/body",
        "self._zlib.decompress(block, most - len(decoded))",
        "self._zlib.decompress(block)",
        ("http/test_transport",),
    ),
    Mutation(
        "single renewal: each caller makes a request",
        "_auth/single_flight",
        "        if run is None or run.task.done()",
        "        if run is not None or run is None or run.task.done()",
        ("auth/test_single_flight", "auth/test_client_credentials"),
    ),
    Mutation(
        "single renewal: cancelling the first strands the others",
        "_auth/single_flight",
        "        if run.callers == 0 and not run.task.done():",
        "        if not run.task.done():",
        ("auth/test_single_flight", "auth/test_client_credentials"),
    ),
    Mutation(
        "single renewal: a rejected token is renewed by each who met the 401",
        "_auth/client_credentials",
        "        if rejected == token.text and token.settled_until <= now:",
        "        if rejected is not None and token.settled_until <= now:",
        ("auth/test_client_credentials",),
    ),
    Mutation(
        "redirect: followed by a poll",
        "_http/transport",
        "allow_redirects=False",
        "allow_redirects=True",
        ("http/test_transport", "test_session"),
    ),
    Mutation(
        "redirect: followed by a token request",
        "_auth/client_credentials",
        "data=form, allow_redirects=False",
        "data=form, allow_redirects=True",
        ("auth/test_client_credentials",),
    ),
)


def copy_tree(folder: Path) -> None:
    for name in TREE:
        source = TOP / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder)


def run_tests(folder: Path, tests: tuple[str, ...]) -> "subprocess.CompletedProcess[str]":
    """Run test files against the package in a folder, which comes before the installed one."""
    files = [f"tests/{name}.py" for name in tests]
    environment = {**os.environ, "PYTHONPATH": str(folder), "HYPOTHESIS_PROFILE": "unshrunk"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--tb=no", "-p", "no:cacheprovider", *files]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=LONGEST, check=False
    )


def apply(mutation: Mutation, folder: Path) -> bool:
    """Replace the text; return True if it occurred exactly once."""
    path = folder / "schedules_async" / f"{mutation.module}.py"
    source = path.read_text("utf-8")
    path.write_text(source.replace(mutation.text, mutation.instead), "utf-8")
    return source.count(mutation.text) == 1


def judge(mutation: Mutation) -> tuple[bool, str]:
    """Return whether a test noticed the mutation, and which test or why not."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_tree(folder)
        if not apply(mutation, folder):
            return False, f"its text does not stand in {mutation.module}.py, or not once"
        try:
            done = run_tests(folder, mutation.tests)
        except subprocess.TimeoutExpired:
            return False, f"the tests did not end within {LONGEST} s"
    failed = [line.split("::")[-1].split(" ")[0] for line in done.stdout.splitlines() if line.startswith("FAILED")]
    if done.returncode == RED and failed:
        return True, failed[0]
    return False, "SURVIVED" if done.returncode == 0 else f"pytest gave {done.returncode}: {done.stdout[-300:]}"


def is_green(mutations: Sequence[Mutation]) -> bool:
    """True if the same tests pass on a copy in which nothing is broken."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_tree(folder)
        tests = sorted({test for mutation in mutations for test in mutation.tests})
        return run_tests(folder, tuple(tests)).returncode == 0


def main(words: list[str]) -> int:
    chosen = [one for one in MUTATIONS if not words or any(word in one.name for word in words)]
    began = time.monotonic()
    with ThreadPoolExecutor(max_workers=2) as pool:
        green, verdicts = pool.submit(is_green, chosen), list(pool.map(judge, chosen))
    print(f"{'green' if green.result() else 'RED'}  unbroken")
    for mutation, (is_noticed, words_said) in zip(chosen, verdicts, strict=True):
        print(f"{'red' if is_noticed else 'NOT '}    {mutation.name:<76} {words_said}")
    noticed = sum(is_noticed for is_noticed, _ in verdicts)
    print(f"{noticed} of {len(chosen)} noticed, in {time.monotonic() - began:.0f} s")
    return 0 if green.result() and noticed == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
