"""The architecture, read from the source: imports go down, nothing is hidden, everything is tested."""

import ast
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import schedules_async

PACKAGE = Path(schedules_async.__file__).parent
TESTS = Path(__file__).parent
NAME = PACKAGE.name
HOUSE = (  # modules and folders from top to bottom; imports go down
    *("__main__", "cli", "temporal", "testing", "progress"),
    *("__init__", "_session", "_waiters", "_polling", "_throttling", "_auth", "_http"),
    *("events", "errors", "_operations"),
    *("_clock", "_hooks", "_stats", "_version", "_exports"),
)
PUBLIC = ("cli", "temporal", "testing", "progress", "__init__", "events", "errors")
PRIVATE_USES = {  # what the folders above `__init__` use beside the public surface, and why
    ("cli", "_auth.variables"): "the variables of `SchedulesSession.from_env`",
    ("cli", "_http.urls"): "what is a base URL, so that a message repeats none with a password",
    ("cli", "_waiters.checkpoint"): "the command writes the checkpoint of what is left of its own timeout",
    ("progress", "_waiters.waiter"): "the type of any waiter, which is tracked, and when its last operation ends",
    ("progress", "_exports"): "names what it exports by itself",
    ("testing", "_exports"): "as above",
    ("temporal", "_exports"): "as above",
    ("temporal", "_auth.tokens"): "the type of `auth`",
    ("temporal", "_clock"): "the type of seconds, and the default clock",
    ("temporal", "_operations.operation"): "workflow code imports as little as possible",
    ("temporal", "_operations.ref"): "workflow code imports as little as possible",
    ("temporal", "_polling.experience"): "single polls learn for themselves: the session has not seen them as one wait",
    ("temporal", "_polling.forecast"): "an activity hands on the progress so far to the next",
    ("temporal", "_polling.policy"): "the jitter of an operation",
    ("testing", "_clock"): "the default clock",
    ("testing", "_operations.ref"): "the parser of paths",
}
DOORS = {  # who may import it; nobody else
    "aiohttp": ("_auth.*", "_http.*", "_session", "testing.*", "cli.*", "temporal.worker"),
    "time": ("_clock", "testing.*"),
    "random": ("_auth.client_credentials", "_session", "temporal.worker"),
    "click": ("cli.*",),
    "rich": ("cli.*", "progress.rich_bars"),
    "tqdm": ("progress.tqdm_bars",),
    "temporalio": ("temporal.*",),
}
EXTRAS = ("__main__", "temporal.__init__")  # report an extra that is not installed
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): ast.parse(path.read_text("utf-8"))
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.parent.name != "pytest_plugin"  # a module at the top, once installed
}


def top_of(module: str) -> str:
    """Return the folder of a module, or the module itself if it stands at the root."""
    return module.partition(".")[0]


@cache
def imported_names(module: str) -> set[str]:
    """Return the dotted names of everything that a module imports."""
    names = set()
    for node in ast.walk(MODULES[module]):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@cache
def own_imports(module: str) -> set[str]:
    """Return the modules of this package that a module imports."""
    found = set()
    for name in imported_names(module):
        top, *parts = name.split(".")
        if top == NAME:
            paths = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
            candidates = [form for path in paths for form in (path, f"{path}.__init__")]
            found.add(next((path for path in candidates if path in MODULES), "__init__"))
            package = ".".join((*parts[:-1], "__init__"))
            found |= {package} & {*MODULES}  # of which the name is imported, even if it is a module
    return found


def imports_between_folders() -> Iterator[tuple[str, str]]:
    """Yield each module of this package with each one that it imports from another folder."""
    for module in MODULES:
        yield from ((module, other) for other in sorted(own_imports(module)) if top_of(module) != top_of(other))


def test_imports_go_down() -> None:
    """Within one folder modules may import each other."""
    pairs = [(top_of(module), top_of(other)) for module, other in imports_between_folders()]
    assert {pair for pair in pairs if HOUSE.index(pair[0]) > HOUSE.index(pair[1])} == set()


def test_imports_have_no_cycles() -> None:
    TopologicalSorter({module: own_imports(module) for module in MODULES}).prepare()


def test_folders_on_top_use_the_public_surface() -> None:
    above = HOUSE[1 : HOUSE.index("__init__")]
    pairs = {(top_of(module), other) for module, other in imports_between_folders()}
    private = {pair for pair in pairs if pair[0] in above and top_of(pair[1]) not in PUBLIC}
    assert private == {*PRIVATE_USES}


def test_imports_stand_at_module_level_only() -> None:
    """An extra may be missing: only its door may try the import, and only `progress` may import by name."""
    wrong = []
    for module, tree in MODULES.items():
        tried = [node for node in tree.body if isinstance(node, ast.Try) and module in EXTRAS]
        allowed = {id(node) for body in (tree.body, *(block.body for block in tried)) for node in body}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom) and id(node) not in allowed:
                wrong.append(f"{module}:{node.lineno}")
            if isinstance(node, ast.ImportFrom) and node.level:
                wrong.append(f"{module}:{node.lineno} is relative")
            if isinstance(node, ast.Call) and module != "progress.__init__":
                called = getattr(node.func, "id", "") or getattr(node.func, "attr", "")
                wrong += [f"{module}:{node.lineno}"] * (called in {"__import__", "import_module"})
        wrong += [f"{module}: {name}" for name in imported_names(module) if name.endswith(".TYPE_CHECKING")]
    assert wrong == []


def test_dependency_is_imported_where_allowed_only() -> None:
    strangers = [
        f"{module} imports {door}"
        for module in MODULES
        for door in {name.split(".")[0] for name in imported_names(module)} & {*DOORS}
        if not any(fnmatch(module, keeper) for keeper in DOORS[door])
    ]
    assert strangers == []


def test_module_has_its_test_file() -> None:
    """The public names test the `__init__` of each folder, the exports and the version."""
    wanted = {
        Path(*(part.strip("_") for part in module.split(".")[:-1]), f"test_{module.split('.')[-1].strip('_')}.py")
        for module in MODULES
        if not module.endswith(("__init__", "_version", "_exports"))
    }
    assert [str(path) for path in sorted(wanted) if not (TESTS / path).exists()] == []


def test_root_holds_at_most_a_dozen_modules() -> None:
    assert len([module for module in MODULES if "." not in module]) <= 12


def test_types_are_published() -> None:
    assert (PACKAGE / "py.typed").is_file()


def test_no_checker_is_silenced() -> None:
    """The pattern writes the sign that opens a comment as x23, so as not to find itself."""
    silencer = re.compile(r"\x23.*(type:\s*ignore|noqa|pragma|pylint:|mypy:|ruff:|fmt:)", re.IGNORECASE)
    silenced = [
        f"{path}: {line}"
        for folder in (PACKAGE, TESTS, TESTS.parent / "examples")
        for path in sorted(folder.rglob("*.py"))
        for line in path.read_text("utf-8").splitlines()
        if silencer.search(line)
    ]
    assert silenced == []


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the number of lines of a function, its signature included and its docstring not."""
    first = function.body[0]
    docstring = (first.end_lineno or 0) - first.lineno + 1 if ast.get_docstring(function) is not None else 0
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


def test_function_has_at_most_25_lines() -> None:
    long = {
        f"{module}.{node.name}": lines_of(node)
        for module, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and lines_of(node) > 25
    }
    assert long == {}
