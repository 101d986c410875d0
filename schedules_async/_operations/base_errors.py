"""The base of the error tree: the errors that values can raise, and copies of errors. `errors` draws the tree."""

from asyncio import CancelledError
from contextlib import suppress
from types import GetSetDescriptorType, MemberDescriptorType
from typing import TypeVar

from schedules_async._operations.ref import OperationRef

_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: set for classes made by a class statement


class SchedulesError(Exception):
    """The base of every error that this library raises for what the service or the network did.

    `ref` is the operation concerned, or None where there is none. `is_transient` is True for a fault that may be gone
    at the next attempt, `is_throttling` for an answer that pauses the session.
    """

    is_transient = False
    is_throttling = False

    def __init__(self, message: str, *, ref: OperationRef | None = None) -> None:
        """Pass on the message as the only argument, so that copies and pickles keep every fact."""
        super().__init__(message)
        self.ref = ref


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

    The copy keeps the facts, notes, cause and context. No method of the exception's class is called. An error of
    this library is copied without its traceback; any other keeps the frames in which it was raised. `ref` replaces
    the operation of a SchedulesError. If the class does not allow copies, return the error itself.
    """
    if type(error).__module__ != "schedules_async" or isinstance(error, BaseExceptionGroup):
        with suppress(Exception):  # the caller's class may intercept the reading of its attributes
            return _copy_foreign(error, ref)
        return error
    twin = type(error).__new__(type(error))  # all its facts are in its `__dict__`
    twin.args, twin.__cause__ = error.args, error.__cause__
    facts = vars(error).items()
    vars(twin).update((name, fact.copy() if isinstance(fact, list | dict) else fact) for name, fact in facts)
    if ref is not None:
        vars(twin)["ref"] = ref
    return twin


def _copy_foreign(error: AnyError, ref: OperationRef | None) -> AnyError:
    twin = _new_like(error)
    for owner in type(error).__mro__[: -len(BaseException.__mro__)]:
        for name, field in vars(owner).items():
            if isinstance(field, GetSetDescriptorType | MemberDescriptorType) and not name.startswith("__"):
                with suppress(AttributeError):  # a slot that was never set, or a field that cannot be set
                    value = field.__get__(error, type(error))
                    if value is not None or not _is_built_in(owner):  # None: a built-in field that was never set
                        field.__set__(twin, value)
    vars(twin).update(vars(error))
    notes = vars(error).get("__notes__")
    if isinstance(notes, list):
        vars(twin)["__notes__"] = notes.copy()
    for name in ("args", "__cause__", "__context__", "__suppress_context__"):
        BaseException.__setattr__(twin, name, getattr(error, name))
    if not isinstance(twin, SchedulesError):
        return BaseException.with_traceback(twin, error.__traceback__)
    twin.ref = twin.ref if ref is None else ref
    return twin


def _new_like(error: AnyError) -> AnyError:
    """Return an empty exception of the same class, made by the built-in class whose memory layout it has."""
    built_in = max(filter(_is_built_in, type(error).__mro__), key=lambda kind: kind.__basicsize__)
    arguments = (error.message, error.exceptions) if isinstance(error, BaseExceptionGroup) else ()
    twin: AnyError = built_in.__new__(type(error), *arguments)
    return twin


def _is_built_in(kind: type) -> bool:
    return not kind.__flags__ & _HEAP_TYPE
