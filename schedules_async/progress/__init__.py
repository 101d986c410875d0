"""Progress bars for waits: `RichProgress` (extra `rich`) and `TqdmProgress` (extra `tqdm`).

Both have one `track` for a wait of one operation and of many, which awaits the wait while displaying it, and returns or
raises what the wait does:

    progress = RichProgress(names={ref: "import", other: "export"}, session=session)
    operations = await progress.track(session.wait_for_operations([ref, other], timeout=3600))

`with progress.showing(wait):` is for a loop of your own over the wait. `names` maps operations to their names, by a
mapping or a function; the default is their ids. With `session` the last line counts requests and, after a 429, the
seconds until the next one may leave.

Each operation has a bar with its name, percent, what it is doing, and the time that is left as a range; in the end a
mark, and the reason if it failed or was lost. Bars never run backwards. Of more operations than the terminal has lines,
those that were lost, are about to end or changed last are displayed, and a total of all. Waits that are tracked at the
same time share one display. Where there is no terminal, `RichProgress` prints a line for each change, `TqdmProgress`
nothing; in notebooks the bars of `TqdmProgress` are widgets. A display that fails, as on a terminal that is gone, is
closed and logged; the wait continues.

For a display of your own read `wait.members`, whenever you like: it has `ref`, `latest`, `time_remaining` and `outcome`
of each operation (`schedules_async.OperationProgress`).

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
