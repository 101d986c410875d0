"""The names under which a public module shows what it exports."""

from collections.abc import Iterable, Mapping


def name_exports(module: str, namespace: Mapping[str, object], names: Iterable[str]) -> None:
    """Set `__module__` of exported classes and functions to the public module's name.

    Tracebacks, pickles and the reference then show the name that a user imports, not the file that defines it.
    """
    for name in names:
        exported = namespace[name]
        if callable(exported) and getattr(exported, "__module__", "").startswith("schedules_async."):
            exported.__module__ = module
