"""Who is told of events: the logger `schedules_async`, which is a hook like any other, and the caller's hooks."""

import asyncio
import inspect
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from attrs import define, field

from schedules_async.events import Changed, Event, Hook, Throttled, TokenRenewed, WaitBegun, WaitEnded

_LOGGER = logging.getLogger("schedules_async")


def write_line(event: Event) -> None:
    """Log an event, formatted only if it is written; a change is in the line of its look."""
    if not isinstance(event, Changed):
        _LOGGER.log(_level(event), "%s", event)


def _level(event: Event) -> int:
    match event:
        case WaitBegun() | WaitEnded() | TokenRenewed() | Throttled(was_open=True):
            return logging.INFO
    return logging.DEBUG


def _check_hooks(hooks: Sequence[Hook]) -> tuple[Hook, ...]:
    for hook in hooks:
        if not callable(hook):
            raise TypeError(f"each of hooks must be callable, not {type(hook).__name__}")
        if inspect.iscoroutinefunction(hook) or inspect.iscoroutinefunction(type(hook).__call__):
            raise TypeError("a hook is called, not awaited: it must not be async")
    return tuple(hooks)


@define(eq=False, repr=False)
class Hooks:
    """Tells the log and the caller's hooks, in turn; one that raises keeps nobody from anything."""

    _hooks: Sequence[Hook] = field(default=(), converter=_check_hooks)
    _failing: set[int] = field(init=False, factory=set)  # places in _hooks
    _held: list[Event] | None = field(init=False, default=None)

    @property
    def is_anybody_listening(self) -> bool:
        """Tell whether anybody takes what each look has to tell; nothing is made for nobody."""
        return bool(self._hooks) or _LOGGER.isEnabledFor(logging.DEBUG)

    def tell(self, event: Event) -> None:
        """Tell everybody now, or after what is being done with `held`."""
        if self._held is not None:
            self._held.append(event)
            return
        write_line(event)
        for number, hook in enumerate(self._hooks):
            try:
                hook(event)
            except (Exception, asyncio.CancelledError):  # it awaits nothing, so no cancellation of ours
                if number not in self._failing:
                    self._failing.add(number)
                    _LOGGER.exception("a hook raised; it goes on being told, and this is logged once: %r", hook)

    @contextmanager
    def held(self) -> Iterator[list[Event]]:
        """Keep what is told meanwhile, and tell it in the end; what is put into the list is told with it."""
        self._held = held = list[Event]()
        try:
            yield held
        finally:
            self._held = None
            for event in held:
                self.tell(event)
