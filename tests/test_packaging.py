"""What pyproject.toml says of the packages that this one needs."""

import re
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Any

PYPROJECT: dict[str, Any] = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text("utf-8"))
PROJECT = PYPROJECT["project"]
EXTRAS = PROJECT["optional-dependencies"]
LISTS = [PROJECT["dependencies"], *EXTRAS.values(), *PYPROJECT["dependency-groups"].values()]


def test_extra_names_packages_and_no_other_extra() -> None:
    """Old pips answer "ResolutionImpossible" where an extra that names others has a requirement that fails."""
    assert [extra for extra, found in EXTRAS.items() if PROJECT["name"] in str(found)] == []


def test_package_has_one_bound_in_all_lists() -> None:
    bounds = defaultdict(set)
    for requirement in (requirement for found in LISTS for requirement in found):
        if isinstance(requirement, str):
            name, bound = re.findall(r"([\w.-]+)(?:\[[\w,-]+\])?(.*)", requirement)[0]
            bounds[name].add(bound)
    assert {name: found for name, found in bounds.items() if len(found) > 1} == {}


def test_extra_of_tests_has_those_of_the_package() -> None:
    """The README's test command installs `test` alone."""
    assert {*EXTRAS["cli"], *EXTRAS["tqdm"], *EXTRAS["temporal"]} <= {*EXTRAS["test"]}
    assert {*EXTRAS["rich"], *EXTRAS["tqdm"]} <= {*EXTRAS["examples"]}


def test_every_python_has_its_classifier_and_environment() -> None:
    versions = [f"3.{minor}" for minor in range(11, 16)]
    named = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", line)]
    assert named == versions
    assert {f"py{version.replace('.', '')}" for version in versions} <= {*PYPROJECT["tool"]["tox"]["env_list"]}
