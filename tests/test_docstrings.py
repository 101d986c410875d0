"""The examples in the docstrings run and give the output that they show."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path
from types import ModuleType

import pytest

import schedules_async


def modules() -> list[ModuleType]:
    infos = pkgutil.walk_packages(schedules_async.__path__, f"{schedules_async.__name__}.")
    return [importlib.import_module(info.name) for info in infos]


EXAMPLES = [
    found
    for module in modules()
    for found in doctest.DocTestFinder(exclude_empty=True).find(module, module.__name__)
    if found.examples
]


@pytest.mark.parametrize("shown", EXAMPLES, ids=lambda shown: shown.name)
def test_docstring_examples_are_true(shown: doctest.DocTest) -> None:
    runner = doctest.DebugRunner(optionflags=doctest.ELLIPSIS)
    assert runner.run(shown).attempted == len(shown.examples)


def test_no_docstring_begins_as_a_riddle() -> None:
    """Plain words instead: "Return", "True if", "Raise"; of tests and examples too."""
    top = Path(__file__).parents[1]
    sources = [path for name in ("schedules_async", "tests", "examples") for path in (top / name).rglob("*.py")]
    riddle = re.compile(r'"""(Give|Tell|Say|Let|Take|See to|Hear)\b', re.IGNORECASE)
    assert [path.name for path in sources if riddle.search(path.read_text(encoding="utf-8"))] == []
