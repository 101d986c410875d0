"""The README is true: its code is that of the examples, the examples run, and its commands are what CI runs."""

import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent
README = (TOP / "README.md").read_text(encoding="utf-8")
EXAMPLES = sorted((TOP / "examples").glob("*.py"))


def test_every_python_block_is_an_example() -> None:
    blocks = re.findall(r"`(examples/\w+\.py)`:\n\n```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == README.count("```python") == len(EXAMPLES)
    for name, text in blocks:
        assert (TOP / name).read_text(encoding="utf-8") == text


def test_it_opens_with_the_two_commands() -> None:
    commands = re.findall(r"^python3 -m venv .*$", README, re.MULTILINE)
    assert len(commands) == 2
    assert commands[0].endswith("schedules-async demo")
    assert commands[1].endswith("python -m pytest -q")
    assert README.index(commands[1]) < README.index("\n## ")


def run_example(path: Path) -> "subprocess.CompletedProcess[str]":
    command = (sys.executable, "-W", "error", str(path))
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    "early", [partial(run_example, path) for path in EXAMPLES], ids=[path.stem for path in EXAMPLES], indirect=True
)
def test_every_example_runs(early: "subprocess.CompletedProcess[str]") -> None:
    """With warnings as errors, and something to show for it."""
    assert (early.returncode, early.stderr) == (0, "")
    assert early.stdout


def test_the_top_level_is_what_the_design_card_says() -> None:
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=False, cwd=TOP)
    names = {line.split("/")[0] for line in listed.stdout.splitlines() if not line.startswith(".")}
    wanted = {"pyproject.toml", "schedules_async", "tests", "examples", "CHANGELOG.md", "README.md", "LICENSE"}
    assert names in (set(), wanted)
