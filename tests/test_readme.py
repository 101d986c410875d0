"""The README is true: its code is that of the examples, the examples run, and its commands are what CI runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from engine import find

TOP = Path(__file__).parent.parent
README = (TOP / "README.md").read_text(encoding="utf-8")
EXAMPLES = sorted((TOP / "examples").glob("*.py"))
ON_AN_ENGINE = [example for example in EXAMPLES if "temporalio" in example.read_text(encoding="utf-8")]
ALONE = [example for example in EXAMPLES if example not in ON_AN_ENGINE]


def test_every_python_block_is_an_example() -> None:
    blocks = re.findall(r"`(examples/\w+\.py)`:\n\n```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == README.count("```python")
    assert {name for name, _ in blocks} >= {f"examples/{example.name}" for example in ALONE}
    for name, text in blocks:
        assert (TOP / name).read_text(encoding="utf-8") == text


@pytest.mark.parametrize("example", ON_AN_ENGINE, ids=lambda path: path.stem)
def test_an_example_that_needs_an_engine_is_quoted_or_linked(example: Path) -> None:
    name = f"examples/{example.name}"
    assert f"`{name}`:\n\n```python" in README or f"[`{name}`]({name})" in README


def test_it_opens_with_the_two_commands() -> None:
    commands = re.findall(r"^python3 -m venv .*$", README, re.MULTILINE)
    assert len(commands) == 2
    assert commands[0].endswith("schedules-async demo")
    assert commands[1].endswith("python -m pytest -q")
    assert README.index(commands[1]) < README.index("\n## ")


@pytest.fixture(scope="module")
def running() -> dict[Path, "subprocess.Popen[str]"]:
    """Start all examples at once: they mostly wait."""
    return {
        example: subprocess.Popen(
            [sys.executable, "-W", "error", str(example)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for example in ALONE
    }


@pytest.mark.parametrize("example", ALONE, ids=lambda path: path.stem)
def test_every_example_runs(running: dict[Path, "subprocess.Popen[str]"], example: Path) -> None:
    """With warnings as errors, and something to show for it."""
    shown, complaints = running[example].communicate(timeout=60)
    assert (running[example].returncode, complaints) == (0, "")
    assert shown


@pytest.mark.temporal
def test_the_examples_that_need_an_engine_run_together() -> None:
    """One starts Temporal's server, two of the other, and 200 operations."""
    find("temporal")
    command = [sys.executable, "-W", "error", str(TOP / "examples" / "temporal_start.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("working\n") == 2
    assert done.stdout.endswith("200 succeeded\n")


def test_the_top_level_is_what_the_design_card_says() -> None:
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=False, cwd=TOP)
    names = {line.split("/")[0] for line in listed.stdout.splitlines() if not line.startswith(".")}
    wanted = {"pyproject.toml", "schedules_async", "tests", "examples", "CHANGELOG.md", "README.md", "LICENSE"}
    assert names in (set(), wanted)
