"""Progress bars for waits: `RichProgress` (extra `rich`) and `TqdmProgress` (extra `tqdm`).

Each class is imported on first access, so that neither needs the other's extra; `__init__.pyi` declares their types.
"""

from importlib import import_module
from typing import Any

from schedules_async._exports import name_exports

_EXTRAS = {"RichProgress": "rich", "TqdmProgress": "tqdm"}


def __getattr__(name: str) -> Any:
    """Import one of the classes; an ImportError names the extra that it needs."""
    extra = _EXTRAS.get(name)
    if extra is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        exports = vars(import_module(f"{__name__}.{extra}_bars"))
    except ModuleNotFoundError as missing:
        if missing.name != extra:
            raise
        raise ImportError(f"{name} needs its extra: pip install 'schedules-async[{extra}]'", name=extra) from missing
    name_exports(__name__, exports, [name])
    return exports[name]
