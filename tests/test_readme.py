"""The README is true: its code is that of the examples, the examples run, and its commands are what CI runs."""

import re
import subprocess
import sys
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


@pytest.fixture(scope="module")
def running() -> dict[Path, "subprocess.Popen[str]"]:
    """Start all examples at once: they mostly wait."""
    return {
        example: subprocess.Popen(
            [sys.executable, "-W", "error", str(example)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for example in EXAMPLES
    }


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_runs(running: dict[Path, "subprocess.Popen[str]"], example: Path) -> None:
    """With warnings as errors, and something to show for it."""
    shown, complaints = running[example].communicate(timeout=60)
    assert (running[example].returncode, complaints) == (0, "")
    assert shown


def test_the_top_level_is_what_the_design_card_says() -> None:
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=False, cwd=TOP)
    names = {line.split("/")[0] for line in listed.stdout.splitlines() if not line.startswith(".")}
    wanted = {"pyproject.toml", "schedules_async", "tests", "examples", "CHANGELOG.md", "README.md", "LICENSE"}
    assert names in (set(), wanted)
