"""The README is true: its code is that of the examples, the examples run, and its commands are what CI runs."""

import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from chromium import load

TOP = Path(__file__).parent.parent
README = (TOP / "README.md").read_text(encoding="utf-8")
EXAMPLES = sorted((TOP / "examples").glob("*.py"))
ALONE = [path for path in EXAMPLES if "temporalio" not in path.read_text(encoding="utf-8")]  # needs no engine
NOTEBOOKS = sorted((TOP / "examples").glob("*.ipynb"))
BLOCKS = dict(re.findall(r"`(examples/\w+\.py)`:\n\n```python\n(.*?)```", README, re.DOTALL))


def name_of(example: Path) -> str:
    return f"examples/{example.name}"


def command_of(example: Path) -> list[str]:
    """Return the command: pytest for a file of tests; `--seconds` ends what otherwise waits for a user."""
    command = [sys.executable, "-W", "error"]
    if example.name.startswith("test_"):
        return [*command, "-m", "pytest", "-q", str(example)]
    return [*command, str(example), *(["--seconds", "1"] if "--seconds" in example.read_text("utf-8") else [])]


def test_python_block_is_an_example() -> None:
    assert len(BLOCKS) == README.count("```python")
    for name, text in BLOCKS.items():
        assert (TOP / name).read_text(encoding="utf-8") == text


def test_example_is_quoted_in_full_or_named() -> None:
    """An example that is only named, since it is long or needs a screen, has tests of its own."""
    examples = [*EXAMPLES, *NOTEBOOKS]
    assert [name_of(example) for example in examples if f"`{name_of(example)}`" not in README] == []
    named = [example for example in examples if name_of(example) not in BLOCKS]
    assert [
        one.stem for one in named if not (TOP / "tests" / "examples" / f"test_example_{one.stem}.py").exists()
    ] == []


def test_readme_opens_with_the_two_commands() -> None:
    commands = re.findall(r"^python3 -m venv .*$", README, re.MULTILINE)
    assert len(commands) == 2
    assert commands[0].endswith("schedules-async demo")
    assert commands[1].endswith("python -m pytest -q")
    assert README.index(commands[1]) < README.index("\n## ")


def run_example(example: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command_of(example), capture_output=True, text=True, timeout=60, check=False, cwd=TOP)


@pytest.mark.parametrize(
    ("early", "example"),
    [pytest.param(partial(run_example, path), path, id=path.stem) for path in ALONE],
    indirect=["early"],
)
def test_example_runs_without_a_warning(early: "subprocess.CompletedProcess[str]", example: Path) -> None:
    """Warnings are errors; every example prints something."""
    if name_of(example) not in BLOCKS:
        load(example.stem)
    assert (early.returncode, early.stderr) == (0, "")
    assert early.stdout


def test_top_level_holds_only_what_is_listed() -> None:
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=False, cwd=TOP)
    names = {line.split("/")[0] for line in listed.stdout.splitlines() if not line.startswith(".")}
    wanted = {"pyproject.toml", "schedules_async", "tests", "examples", "CHANGELOG.md", "README.md", "LICENSE"}
    assert names in (set(), wanted)
