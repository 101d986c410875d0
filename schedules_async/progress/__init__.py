"""Progress bars for waits: `RichProgress` (extra `rich`) and `TqdmProgress` (extra `tqdm`).

Each is imported when it is asked for, so that neither needs the other's extra; `__init__.pyi` has their types.
"""

from importlib import import_module
from typing import Any

_EXTRAS = {"RichProgress": "rich", "TqdmProgress": "tqdm"}


def __getattr__(name: str) -> Any:
    """Import one of the classes; ImportError says which extra it needs."""
    extra = _EXTRAS.get(name)
    if extra is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"{__name__}.{extra}_bars"), name)
    except ModuleNotFoundError as missing:
        if missing.name != extra:
            raise
        raise ImportError(f"{name} needs its extra: pip install 'schedules-async[{extra}]'", name=extra) from missing
