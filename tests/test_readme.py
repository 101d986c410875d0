"""The pages are true: excerpts are those of the examples, links lead somewhere, and every example runs."""

import os
import re
import subprocess
import sys
import textwrap
from functools import partial
from pathlib import Path

import early_process
import pytest
from chromium import load
from environment import INHERITED
from forked import Done, run_files

TOP = Path(__file__).parent.parent
README = (TOP / "README.md").read_text(encoding="utf-8")
PAGES = [TOP / name for name in ("README.md", "CHANGELOG.md", "examples/README.md")] + sorted(
    (TOP / ".github").glob("*.md")
)
EXAMPLES = sorted((TOP / "examples").glob("*.py"))
TEXTS = {path: path.read_text(encoding="utf-8") for path in EXAMPLES}
ALONE = [path for path, text in TEXTS.items() if "temporalio" not in text]  # needs no engine
EXCERPTS = re.findall(r"\[`(examples/\w+\.py)`\]\([^)]*\)[^\[]*:\n```python\n(.*?)```", README, re.DOTALL)
LONGEST_EXCERPT = 10  # lines
LONGEST_README = 250  # lines
TESTED_WITH = {"temporal_worker": "temporal_start"}  # examples that the test of another one runs
PROGRAMS = [path for path in ALONE if not path.name.startswith("test_")]


def lines_of(text: str, first: int, count: int) -> str:
    """Return some lines of a text without their common indentation."""
    return textwrap.dedent("".join(text.splitlines(keepends=True)[first : first + count]))


def test_readme_opens_with_the_two_commands() -> None:
    commands = re.findall(r"^python3 -m venv .*$", README, re.MULTILINE)
    assert len(commands) == 2
    assert commands[0].endswith("schedules-async demo")
    assert commands[1].endswith("python -m pytest -q")
    assert README.index(commands[1]) < README.index("\n## ")


def test_readme_is_short_enough_to_read() -> None:
    assert len(README.splitlines()) <= LONGEST_README


@pytest.mark.parametrize(("name", "excerpt"), EXCERPTS, ids=range(len(EXCERPTS)))
def test_excerpt_stands_in_its_example(name: str, excerpt: str) -> None:
    """Word for word, but for the indentation; what is longer than an excerpt is the whole example."""
    text, count = TEXTS[TOP / name], len(excerpt.splitlines())
    assert excerpt == text or count <= LONGEST_EXCERPT
    assert any(lines_of(text, first, count) == excerpt for first in range(len(text.splitlines())))


def test_every_python_block_is_an_excerpt() -> None:
    assert len(EXCERPTS) == README.count("```python")
    assert EXCERPTS[0] == ("examples/quickstart.py", TEXTS[TOP / "examples" / "quickstart.py"])


def anchors_of(page: Path) -> set[str]:
    """Return the anchors of the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(TOP).as_posix())
def test_links_of_page_lead_somewhere(page: Path) -> None:
    """To a file of the repository and a heading in it; those to other sites are only checked for their scheme."""
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)|(?:src|srcset)=\"([^\"]+)\"", text):
        path, _, anchor = "".join(target).partition("#")
        if not path.startswith("https://"):
            linked = (page.parent / path).resolve() if path else page
            assert linked.exists(), path
            assert not anchor or anchor in anchors_of(linked), anchor


def test_architecture_names_what_exists() -> None:
    """Each name in the text of the page is a path or a file's name, or occurs in the source."""
    text = (TOP / ".github" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    sources = [path for name in ("schedules_async", "tests") for path in (TOP / name).rglob("*.py")]
    words = set(re.findall(r"\w+", "\n".join(path.read_text(encoding="utf-8") for path in sources)))
    files = {path.name for path in sources}

    def is_known(name: str) -> bool:
        if any((TOP / folder / name).exists() for folder in (".", "schedules_async", "tests")):
            return True
        return name in files if name.endswith(".py") else name.rpartition(".")[2] in words

    assert [name for name in re.findall(r"`([\w./]+)(?:\(.*?\))?`", text) if not is_known(name)] == []


def test_index_of_examples_lists_all_files() -> None:
    files = {path.name for path in (TOP / "examples").iterdir() if path.suffix in {".py", ".ipynb", ".html"}}
    index = (TOP / "examples" / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\]\((\w+\.(?:py|ipynb|html))\)", index)) == files


def test_example_with_arguments_has_tests_of_its_own() -> None:
    """So has one for more than one process; the others are only run."""
    long = [path.stem for path, text in TEXTS.items() if re.search(r"argparse|sys\.argv|temporalio", text)]
    tests = {path.stem.removeprefix("test_example_") for path in (TOP / "tests" / "examples").glob("test_example_*")}
    assert {TESTED_WITH.get(name, name) for name in long} - tests == set()


def run_programs() -> dict[Path, Done]:
    """Run the examples that are programs; `--seconds` ends what otherwise waits for a user."""
    commands = [[str(path), *(["--seconds", "1"] if "--seconds" in TEXTS[path] else [])] for path in PROGRAMS]
    return dict(zip(PROGRAMS, run_files(commands, TOP, INHERITED), strict=True))


@pytest.mark.parametrize("early", [run_programs], indirect=True)
@pytest.mark.parametrize("example", PROGRAMS, ids=lambda path: path.stem)
def test_example_runs_without_a_warning(early: dict[Path, Done], example: Path) -> None:
    """Warnings are errors; every example prints something. (`.ci/run` starts each as a command of its own.)"""
    if "__main__" in TEXTS[example]:
        load(example.stem)  # skips the test if the example's extra is missing
    assert (early[example].exit_code, early[example].errors) == (0, "")
    assert early[example].output


def main_module() -> str | None:
    return sys.modules["__main__"].__file__


@pytest.mark.parametrize("early", [main_module], indirect=True)
def test_early_function_runs_in_no_process_of_tests(early: str) -> None:
    """Tests replace `sys.stderr`, the environment and signal handlers, and a process inherits what it finds."""
    assert early == early_process.__file__


def run_tests(example: Path) -> "subprocess.CompletedProcess[str]":
    command = (sys.executable, "-W", "error", "-m", "pytest", "-q", "-n0", str(example))
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=TOP, env=INHERITED)


@pytest.mark.parametrize(
    "early",
    [pytest.param(partial(run_tests, path), id=path.stem) for path in ALONE if path not in PROGRAMS],
    indirect=True,
)
def test_example_of_tests_passes_without_a_warning(early: "subprocess.CompletedProcess[str]") -> None:
    assert (early.returncode, early.stderr) == (0, "")
    assert " passed" in early.stdout


def count_requests() -> "subprocess.CompletedProcess[str]":
    paths = os.pathsep.join(str(TOP / path) for path in (".", "tests/support", "tests/tools"))
    command = [sys.executable, str(TOP / "tests" / "benchmarks" / "requests_per_operation.py")]
    environment = {**INHERITED, "PYTHONPATH": paths}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env=environment)


@pytest.mark.parametrize("early", [count_requests], indirect=True)
def test_table_of_requests_is_what_is_measured(early: "subprocess.CompletedProcess[str]") -> None:
    assert len(early.stdout.splitlines()) > 2
    assert early.stdout in README


def test_top_level_holds_only_what_is_listed() -> None:
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=False, cwd=TOP)
    names = {line.split("/")[0] for line in listed.stdout.splitlines() if not line.startswith(".")}
    wanted = {"pyproject.toml", "schedules_async", "tests", "examples", "CHANGELOG.md", "README.md", "LICENSE"}
    assert names in (set(), wanted)
