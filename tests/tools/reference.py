"""Build the API reference from the docstrings: a page for each public module, and for the modules of its base classes.

Run: python -W error tests/tools/reference.py FOLDER (needs the dependency group `docs`).
A module is public if it has an `__all__`. A
public name or a public member of a class that has no entry is an error, and so is anything that pdoc warns of.
"""

import importlib
import pkgutil
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import pdoc

import schedules_async
from schedules_async import SchedulesError
from schedules_async._version import __version__

TOP = schedules_async.__name__


def public_modules() -> list[str]:
    """Return the names of all modules that have an `__all__`."""
    names = [TOP, *(module.name for module in pkgutil.walk_packages(schedules_async.__path__, f"{TOP}."))]
    return [name for name in names if hasattr(importlib.import_module(name), "__all__")]


def public_objects(module: str) -> dict[str, Any]:
    found = importlib.import_module(module)
    return {name: getattr(found, name) for name in found.__all__}


def own_bases(value: object) -> list[type]:
    """Return a class of this package and its bases in this package; an empty list for anything else."""
    kinds = value.__mro__ if isinstance(value, type) else ()
    return [kind for kind in kinds if kind.__module__.startswith(TOP)]


def foundations(modules: list[str]) -> set[str]:
    """Return the modules that define those bases of public classes that are not public themselves."""
    public = {id(value) for module in modules for value in public_objects(module).values()}
    kinds = [kind for module in modules for value in public_objects(module).values() for kind in own_bases(value)]
    return {kind.__module__ for kind in kinds if id(kind) not in public}


def build(folder: Path) -> list[str]:
    """Write the pages; return the names that are missing from them."""
    modules = public_modules()
    del SchedulesError.__annotations__["text"]  # an argument, which pdoc takes for an attribute
    warnings.filterwarnings("ignore", "Cannot determine where")  # pdoc looks for fields in the public module's file
    pdoc.render.configure(footer_text=f"{TOP} {__version__}", show_source=False)
    pdoc.pdoc(*modules, *foundations(modules), output_directory=folder)
    return [f"{module}.{name}" for module in modules for name in missing_entries(module, folder)]


def missing_entries(module: str, folder: Path) -> list[str]:
    """Return the public names and the members of classes that have no entry on their page."""
    page = (folder / f"{module.replace('.', '/')}.html").read_text("utf-8")
    entries = {*re.findall(r'id="([\w.]+)"', page), "__version__"}  # the version stands at the foot
    wanted = [entry for name, value in public_objects(module).items() for entry in (name, *members(name, value))]
    return [entry for entry in wanted if entry not in entries]


def members(name: str, value: object) -> list[str]:
    found = {member: kind for kind in own_bases(value) for member in vars(kind)}
    return [f"{name}.{member}" for member in found if not member.startswith("_")]


if __name__ == "__main__":
    missing = build(Path(sys.argv[1]))
    sys.stdout.write(f"{len(public_modules())} public modules, missing: {', '.join(missing) or 'nothing'}\n")
    sys.exit(bool(missing))
