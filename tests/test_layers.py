"""The architecture, read off the source: imports go down, nothing is hidden, everything is tested."""

import ast
import re
import tokenize
from collections.abc import Iterator
from fnmatch import fnmatch
from graphlib import TopologicalSorter
from pathlib import Path

import schedules_async

PACKAGE = Path(schedules_async.__file__).parent
TESTS = Path(__file__).parent
NAME = PACKAGE.name
LAYERS = (
    ("addresses", "clock", "version", "http_values", "refs", "sharing"),
    ("base_errors",),
    ("models",),
    ("errors", "environments", "stats"),
    ("events",),
    ("hooks",),
    ("auth", "checkpoints", "responses", "retrying", "pacing", "polling"),
    ("grants", "receiving"),
    ("transport", "credentials"),
    ("looking",),
    ("watching",),
    ("waits",),
    ("waiting",),
    ("session",),
    ("__init__",),
    ("testing.*",),
    ("cli.*",),
    ("__main__",),
)
DOORS = {  # who may import it; nobody else
    "aiohttp": ("credentials", "receiving", "transport", "session", "testing.*", "cli.*"),
    "time": ("clock", "testing.*"),
    "random": ("credentials", "session"),
    "click": ("cli.*",),
    "rich": ("cli.*",),
    "pytest": ("testing.plugin",),
}
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): ast.parse(path.read_text("utf-8"))
    for path in sorted(PACKAGE.rglob("*.py"))
}


def is_one_of(module: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(module, pattern) for pattern in patterns)


def layers_of(module: str) -> list[int]:
    return [number for number, layer in enumerate(LAYERS) if is_one_of(module, layer)]


def imported_names(tree: ast.Module) -> Iterator[str]:
    """Give the dotted names of everything imported, what is taken out of a module included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(tree: ast.Module) -> set[str]:
    """Give the modules of this package that are imported: of each name, as much as is a module."""
    found = set()
    for name in imported_names(tree):
        top, *parts = name.split(".")
        if top == NAME:
            candidates = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
            both = [form for module in candidates for form in (module, f"{module}.__init__")]
            found.add(next((module for module in both if module in MODULES), "__init__"))
    return found


def test_every_module_stands_in_one_layer() -> None:
    assert {module: layers_of(module) for module in MODULES if len(layers_of(module)) != 1} == {}


def test_imports_go_down() -> None:
    """Within `testing` and within `cli` modules may import each other."""
    wrong = [
        f"{module} imports {other}"
        for module, tree in MODULES.items()
        for other in sorted(own_imports(tree))
        if layers_of(other) >= layers_of(module)
        and not ("." in module and other.partition(".")[0] == module.partition(".")[0])
    ]
    assert wrong == []


def test_imports_have_no_cycles() -> None:
    TopologicalSorter({module: own_imports(tree) for module, tree in MODULES.items()}).prepare()


def test_imports_stand_at_module_level_alone() -> None:
    """Never in a function, a class or an `if`; `__main__` alone may try, for the extra that may be missing."""
    wrong = []
    for module, tree in MODULES.items():
        tried = [node for node in tree.body if isinstance(node, ast.Try) and module == "__main__"]
        level = {id(node) for body in (tree.body, *(block.body for block in tried)) for node in body}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom) and id(node) not in level:
                wrong.append(f"{module}:{node.lineno}")
            if isinstance(node, ast.ImportFrom) and node.level:
                wrong.append(f"{module}:{node.lineno} is relative")
        if any(name.endswith(".TYPE_CHECKING") for name in imported_names(tree)):
            wrong.append(f"{module} asks for TYPE_CHECKING")
    assert wrong == []


def test_each_door_has_its_keepers() -> None:
    users = {
        door: [
            module for module, tree in MODULES.items() if door in {name.split(".")[0] for name in imported_names(tree)}
        ]
        for door in DOORS
    }
    strangers = {door: [one for one in users[door] if not is_one_of(one, DOORS[door])] for door in DOORS}
    assert strangers == {door: [] for door in DOORS}


def test_every_module_has_its_test_file() -> None:
    """A package's `__init__` and the version are tested by the public names."""
    wanted = {
        "test_public_names.py"
        if module.endswith("__init__") or module == "version"
        else f"test_{module.strip('_').replace('.', '_')}.py"
        for module in MODULES
    }
    assert sorted(name for name in wanted if not (TESTS / name).exists()) == []


def test_the_types_are_published() -> None:
    assert (PACKAGE / "py.typed").is_file()


def test_no_checker_is_silenced() -> None:
    silencer = re.compile(r"type:\s*ignore|noqa|pragma|pylint:|mypy:|ruff:|fmt:", re.IGNORECASE)
    silenced = []
    for folder in (PACKAGE, TESTS, TESTS.parent / "examples"):
        for path in sorted(folder.rglob("*.py")):
            with path.open("rb") as source:
                comments = [token for token in tokenize.tokenize(source.readline) if token.type == tokenize.COMMENT]
            silenced += [f"{path}:{token.start[0]}" for token in comments if silencer.search(token.string)]
    assert silenced == []


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of the body after the docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_no_function_is_over_25_lines() -> None:
    long = {
        f"{module}.{node.name}": lines_of(node)
        for module, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and lines_of(node) > 25
    }
    assert long == {}
