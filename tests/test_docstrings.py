"""The examples in the docstrings run and give the output that they show."""

import doctest
import importlib
import pkgutil
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
