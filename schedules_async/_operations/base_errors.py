"""The base of the error tree: the errors that values can raise, and copies of errors. `errors` draws the tree."""

from asyncio import CancelledError
from contextlib import suppress
from dataclasses import InitVar, dataclass, field
from operator import attrgetter
from types import GetSetDescriptorType, MemberDescriptorType
from typing import TypeVar

from schedules_async._operations.ref import OperationRef

_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: set for classes made by a class statement


@dataclass(eq=False, repr=False, kw_only=True)
class SchedulesError(Exception):
    """The base of every error that this library raises for what the service or the network did.

    `ref` is the operation concerned, or None where there is none. `is_transient` is True for a fault that may be gone
    at the next attempt, `is_throttling` for an answer that pauses the session.
    """

    is_transient = False
    is_throttling = False
    text: InitVar[str] = field(kw_only=False, compare=False)  # the only one in `args`, for copies and pickles
    ref: OperationRef | None = None

    def __post_init__(self, text: str) -> None:
        super().__init__(text)


class MalformedResponseError(SchedulesError):
    """An answer that breaks the contract: too large, not JSON, wrong types, or another operation."""


def to_callers_error(error: BaseException) -> BaseException:
    """Return the exception to raise to the caller for one that the caller's own code raised.

    A CancelledError or GeneratorExit becomes a RuntimeError, because the caller was not cancelled.
    """
    if not isinstance(error, CancelledError | GeneratorExit):
        return error
    converted = RuntimeError(f"the caller's own code raised {type(error).__name__}")
    converted.__cause__ = error
    return converted


AnyError = TypeVar("AnyError", bound=BaseException)


def copy_error(error: AnyError, ref: OperationRef | None = None) -> AnyError:
    """Return a copy of an exception of any class, one for each caller that gets it.

    The copy keeps the facts, notes and cause, and has lists and dicts of its own. No method of the exception's class is
    called. An error of this library is copied without its context and traceback; any other keeps both. `ref` replaces
    the operation of a SchedulesError. If the class does not allow copies, return the error itself.
    """
    with suppress(Exception):  # the caller's class may intercept the reading of its attributes
        is_own = type(error).__module__ == "schedules_async"
        built_ins = (kind for kind in type(error).__mro__ if not kind.__flags__ & _HEAP_TYPE)
        built_in = max(built_ins, key=attrgetter("__basicsize__"))
        arguments = (error.message, error.exceptions) if isinstance(error, BaseExceptionGroup) else ()
        twin: AnyError = built_in.__new__(type(error), *arguments)  # the class that determines the memory layout
        if not is_own:  # which have no slots
            _copy_slots(error, twin)
        names = ("args", "__cause__", "__suppress_context__", "__context__", "__traceback__")
        for name in names[:3] if is_own else names:
            BaseException.__setattr__(twin, name, getattr(error, name))
        facts = vars(error).items()
        vars(twin).update((name, fact.copy() if type(fact) in (list, dict) else fact) for name, fact in facts)
        if ref is not None and isinstance(twin, SchedulesError):
            twin.ref = ref
        return twin
    return error


def _copy_slots(error: BaseException, twin: BaseException) -> None:
    """Copy the fields of built-in classes, and the slots."""
    owners = type(error).__mro__[: -len(BaseException.__mro__)]
    for member in (member for owner in owners for member in vars(owner).values()):
        if isinstance(member, GetSetDescriptorType | MemberDescriptorType) and not member.__name__.startswith("__"):
            with suppress(AttributeError):  # a slot that was never set, or a field that cannot be set
                value = member.__get__(error)
                if value is not None or member.__objclass__.__flags__ & _HEAP_TYPE:  # None: a built-in one never set
                    member.__set__(twin, value)
