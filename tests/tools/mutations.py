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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from attrs import frozen

TOP = Path(__file__).parents[2]
TREE = ("schedules_async", "tests", "examples", "pyproject.toml", "README.md", "CHANGELOG.md")
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
        "gate: the newest refusal counts, not the latest time",
        "_throttling/rate_limiter",
        "        if until <= self.closed_until:\n            return False\n",
        "",
        ("throttling/test_rate_limiter",),
    ),
    Mutation(
        "gate: the newest refusal counts (for the machine)",
        "_throttling/rate_limiter",
        "        if until <= self.closed_until:\n            return False\n",
        "",
        ("throttling/test_rate_limiter_machine",),
    ),
    Mutation(
        "gate: a closed one lets through",
        "_throttling/rate_limiter",
        "            self.closed_until,\n",
        "            -math.inf,\n",
        ("throttling/test_rate_limiter", "polling/test_fetcher"),
    ),
    Mutation(
        "gate: a window forgets its requests at once",
        "_throttling/rate_limiter",
        "        self._answered.append(now)",
        "        del now",
        ("throttling/test_rate_limiter",),
    ),
    Mutation(
        "ETag: not sent back",
        "_http/responses",
        "    if held is not None and held.etag is not None:\n",
        "    if held is None and held is not None:\n",
        ("http/test_responses",),
    ),
    Mutation(
        "ETag: sent back without its W/",
        "_http/responses",
        '        headers["If-None-Match"] = held.etag',
        '        headers["If-None-Match"] = held.etag.removeprefix("W/")',
        ("http/test_responses",),
    ),
    Mutation(
        "ETag: a malformed one is sent back too",
        "_operations/fields",
        "    if len(fields) != 1 or not _TAG.fullmatch(fields[0]):",
        "    if len(fields) != 1:",
        ("http/test_headers",),
    ),
    Mutation(
        "weak comparison: strong in its place",
        "_operations/fields",
        '    return one.removeprefix("W/") == other.removeprefix("W/")',
        "    return one == other",
        ("http/test_headers", "http/test_responses"),
    ),
    Mutation(
        "weak comparison: anything fits",
        "_operations/fields",
        '    return one.removeprefix("W/") == other.removeprefix("W/")',
        "    return bool(one and other)",
        ("http/test_headers", "http/test_responses"),
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
        "            return self._zlib.decompress(piece, most)",
        "            return self._zlib.decompress(piece)",
        ("http/test_transport",),
    ),
    Mutation(
        "single renewal: each asks for himself",
        "_auth/single_flight",
        "        if run is None or run.task.done()",
        "        if run is not None or run is None or run.task.done()",
        ("auth/test_single_flight", "auth/test_client_credentials"),
    ),
    Mutation(
        "single renewal: cancelling the first strands the others",
        "_auth/single_flight",
        "        if run.users == 0 and not run.task.done():",
        "        if not run.task.done():",
        ("auth/test_single_flight", "auth/test_client_credentials"),
    ),
    Mutation(
        "single renewal: a rejected token is asked for again by each who met the 401",
        "_auth/client_credentials",
        "        if rejected == token.text and token.settled_until <= now:",
        "        if rejected is not None and token.settled_until <= now:",
        ("auth/test_client_credentials",),
    ),
    Mutation(
        "redirect: followed by a look",
        "_http/transport",
        "headers=headers, allow_redirects=False",
        "headers=headers, allow_redirects=True",
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


def is_green() -> bool:
    """True if the same tests pass on a copy in which nothing is broken."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_tree(folder)
        tests = sorted({test for mutation in MUTATIONS for test in mutation.tests})
        return run_tests(folder, tuple(tests)).returncode == 0


def main(words: list[str]) -> int:
    chosen = [one for one in MUTATIONS if not words or any(word in one.name for word in words)]
    began = time.monotonic()
    with ThreadPoolExecutor(max_workers=2) as pool:
        green, verdicts = pool.submit(is_green), list(pool.map(judge, chosen))
    print(f"{'green' if green.result() else 'RED'}  unbroken")
    for mutation, (is_noticed, words_said) in zip(chosen, verdicts, strict=True):
        print(f"{'red' if is_noticed else 'NOT '}    {mutation.name:<76} {words_said}")
    noticed = sum(is_noticed for is_noticed, _ in verdicts)
    print(f"{noticed} of {len(chosen)} noticed, in {time.monotonic() - began:.0f} s")
    return 0 if green.result() and noticed == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
