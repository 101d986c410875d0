"""The delivery of events: to the logger `schedules_async`, then to the caller's hooks."""

import asyncio
import contextvars
import inspect
import logging
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Protocol

from attrs import define, field

_LOGGER = logging.getLogger("schedules_async")


class Loggable(Protocol):
    """An event; its text is logged at `log_level`, or not at all if that is None."""

    @property
    def log_level(self) -> int | None:
        """The logging level, or None."""


def _check_hooks(hooks: Iterable[Callable[[Any], object]]) -> tuple[Callable[[Any], object], ...]:
    if not isinstance(hooks, Iterable):
        raise TypeError(f"hooks must be an iterable of callables, not {type(hooks).__name__}")
    checked = tuple(hooks)
    for hook in checked:
        if not callable(hook):
            raise TypeError(f"each of hooks must be callable, not {type(hook).__name__}")
        if inspect.iscoroutinefunction(hook) or inspect.iscoroutinefunction(type(hook).__call__):
            raise TypeError("a hook is called, not awaited: it must not be async")
    return checked


@define(eq=False, repr=False)
class Hooks:
    """Logs each event and calls the hooks with it, in order, in a callback of the event loop of its own.

    All events that one step of the event loop emits are delivered by one callback, before the callers that the step
    woke go on. A hook runs in a copy of the context in which the event was emitted. An exception that it raises affects
    nothing else; the first one of each hook is logged.
    """

    _hooks: tuple[Callable[[Any], object], ...] = field(default=(), converter=_check_hooks)
    _failing: set[int] = field(init=False, factory=set)  # numbers of those that have raised: 0 is the log
    _events: deque[tuple[contextvars.Context, Loggable]] = field(init=False, factory=deque)
    _delivery: asyncio.Handle | None = field(init=False, default=None)

    @property
    def is_anybody_listening(self) -> bool:
        """True if a hook or the log takes the events of every poll; otherwise they need not be created."""
        return bool(self._hooks) or _LOGGER.isEnabledFor(logging.DEBUG)

    def emit(self, event: Loggable) -> None:
        """Deliver an event once the running callback of the event loop has returned."""
        self._events.append((contextvars.copy_context(), event))
        if self._delivery is None:
            self._delivery = asyncio.get_running_loop().call_soon(self.deliver)

    def deliver(self) -> None:
        """Deliver the events that were emitted so far."""
        self._delivery = None
        for _ in range(len(self._events)):
            if self._events:
                context, event = self._events.popleft()
                context.run(self._call_all, event)

    def _call_all(self, event: Loggable) -> None:
        for number, hook in enumerate((_log, *self._hooks)):
            try:
                hook(event)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException:  # a CancelledError too: a hook awaits nothing, so nobody has cancelled it
                if number not in self._failing:
                    self._failing.add(number)
                    with suppress(Exception):  # raised by a handler of the caller's
                        _LOGGER.exception("a hook raised an exception; its later ones are not logged: %r", hook)


def _log(event: Loggable) -> None:
    if event.log_level is not None:
        _LOGGER.log(event.log_level, "%s", event)
