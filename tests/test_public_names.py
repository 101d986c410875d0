"""The public names, and the drawn tree of the errors."""

import builtins
import re
import runpy
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import schedules_async
import schedules_async.errors as tree
from schedules_async import OperationGroupError, SchedulesError, progress, temporal
from schedules_async._version import __version__

PUBLIC = {
    "COMMUNITY_TIER",
    "DEV",
    "PRODUCTION",
    "QA",
    "STANDARD_TIER",
    "AuthenticationError",
    "CheckpointFile",
    "ClientCredentials",
    "Clock",
    "Environment",
    "GroupWaiter",
    "MalformedResponseError",
    "NotFoundError",
    "Operation",
    "OperationFailedError",
    "OperationGroupError",
    "OperationGroupWaiter",
    "OperationProgress",
    "OperationRef",
    "OperationStalledError",
    "OperationStatus",
    "OperationTimeoutError",
    "OperationWaiter",
    "PermissionDeniedError",
    "PollingPolicy",
    "RateLimit",
    "RateLimitedError",
    "ResponseError",
    "RetryPolicy",
    "SchedulesError",
    "SchedulesSession",
    "ServerError",
    "SessionClosedError",
    "SessionStats",
    "TimeRemaining",
    "TokenProvider",
    "TransportError",
    "WaitError",
    "__version__",
}


def test_all_lists_exactly_the_public_names() -> None:
    assert sorted(schedules_async.__all__) == sorted(PUBLIC)
    assert all(hasattr(schedules_async, name) for name in PUBLIC)
    assert schedules_async.__version__ == __version__


@pytest.mark.parametrize(("name", "extra"), [("RichProgress", "rich"), ("TqdmProgress", "tqdm")])
def test_progress_class_is_imported_on_demand(name: str, extra: str) -> None:
    assert isinstance(getattr(progress, name), type)
    with pytest.raises(ImportError, match=rf"{name} needs its extra: pip install 'schedules-async\[{extra}\]'"):
        import_without(extra, name)
    with pytest.raises(ModuleNotFoundError, match="attrs"):
        import_without("attrs", name)


def import_without(package: str, name: str) -> None:
    """Ask for a class where a package is missing."""

    def import_nothing(_: str) -> ModuleType:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)

    before, progress.__dict__["import_module"] = progress.__dict__["import_module"], import_nothing
    try:
        getattr(progress, name)
    finally:
        progress.__dict__["import_module"] = before


def test_progress_exports_nothing_else() -> None:
    stub = Path(progress.__file__ or "").with_suffix(".pyi").read_text("utf-8")
    assert sorted(re.findall(r"import (\w+)", stub)) == sorted(progress.__dict__["_EXTRAS"])
    with pytest.raises(AttributeError, match="no attribute 'Progress'"):
        progress.__dict__["__getattr__"]("Progress")


def test_every_error_is_exported() -> None:
    kinds = {
        name for name, value in vars(tree).items() if isinstance(value, type) and issubclass(value, SchedulesError)
    }
    assert kinds == {name for name in tree.__all__ if name.endswith("Error")}
    assert kinds <= PUBLIC
    assert all(getattr(schedules_async, name) is getattr(tree, name) for name in kinds)


def drawn_tree() -> list[tuple[str, str | None, str]]:
    """Read (class, its parent, what is said of it) out of the drawing in the module's docstring."""
    drawn, path = [], list[str]()
    for line in (tree.__doc__ or "").splitlines():
        match = re.fullmatch(r"((?:[│ ] {3})*(?:[├└]── )?)(\w+Error)(?: +(.*))?", line)
        if match is not None:
            indent, name, said = match.groups()
            del path[len(indent) // 4 :]
            drawn.append((name, path[-1] if path else None, said or ""))
            path.append(name)
    return drawn


def test_drawn_tree_is_the_real_one() -> None:
    drawn = drawn_tree()
    assert sorted(name for name, _, _ in drawn) == sorted(name for name in tree.__all__ if name.endswith("Error"))
    for name, parent, said in drawn:
        also = re.findall(r"also an? (\w+)", said)
        bases = [base.__name__ for base in getattr(tree, name).__bases__]
        assert bases == [parent or "Exception", *also], name
        assert all(hasattr(builtins, other) for other in also)


def test_drawn_attributes_exist() -> None:
    for name, _, said in drawn_tree():
        for attribute in re.findall(r"(?:^|[ ,])\.(\w+)", said):
            error = (
                OperationGroupError("x", [ValueError()]) if name == "OperationGroupError" else getattr(tree, name)("x")
            )
            assert hasattr(error, attribute), f"{name}.{attribute}"


def test_temporal_exports_its_names() -> None:
    assert sorted(temporal.__all__) == [
        "OperationActivities",
        "OperationWait",
        "Outcome",
        "WaitForOperations",
        "WaitProgress",
        "WaitRequest",
        "schedules_worker",
    ]
    assert all(hasattr(temporal, name) for name in temporal.__all__)


def import_temporal_without(missing: str) -> None:
    def import_others(name: str, *rest: Any) -> Any:
        if name == "schedules_async.temporal.activities":
            raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)
        return __import__(name, *rest)

    runpy.run_path(temporal.__file__, {"__builtins__": {**vars(builtins), "__import__": import_others}})


@pytest.mark.parametrize("package", ["temporalio", "temporalio.activity"])
def test_import_without_extra_names_the_extra(package: str) -> None:
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'schedules-async\[temporal\]'") as raised:
        import_temporal_without(package)
    assert raised.value.name == package


def test_other_missing_module_is_named() -> None:
    with pytest.raises(ModuleNotFoundError, match="No module named 'yarl'"):
        import_temporal_without("yarl")
