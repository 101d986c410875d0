"""Progress bars for waits: `RichProgress` (extra `rich`) and `TqdmProgress` (extra `tqdm`).

Both have one `track` for a wait of one operation and of many, which awaits the wait while displaying it, and returns or
raises what the wait does:

    progress = RichProgress(names={ref: "import", other: "export"}, session=session)
    operations = await progress.track(session.wait_for_operations([ref, other], timeout=3600))

To iterate over the wait yourself, do so within `with progress.showing(wait):`. `names` is a mapping or a function from
operations to names; by default ids are displayed. With `session` the last line counts requests and, after a 429,
displays the seconds until the next request can be sent.

Each operation has a bar with its name, percent, state, and the time remaining as a range; when it has ended, a mark,
and the reason if it failed or was lost. The bar of an operation never runs backwards. If there are more operations than
the terminal has lines, those that were lost, are about to end or changed last are displayed, with a total of all. Waits
that are tracked at the same time share one display. Without a terminal `track` of `RichProgress` prints a line for each
change, and `TqdmProgress` prints nothing; in notebooks the bars of `TqdmProgress` are widgets. A display that fails,
for instance because the terminal was closed, is closed and logged; the wait continues.

For a display of your own, read `wait.members` at any time: each member has the `ref`, `latest`, `time_remaining` and
`outcome` of one operation (`schedules_async.OperationProgress`).

Each class is imported on first access, so that neither needs the other's extra; `__init__.pyi` declares their types.
"""

from importlib import import_module
from typing import Any

from schedules_async._exports import name_exports

_EXTRAS = {"RichProgress": "rich", "TqdmProgress": "tqdm"}


def __getattr__(name: str) -> Any:
    """Return one of the classes, imported on first access; raise ImportError if its extra is missing."""
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
