"""The foot of the error tree: what values themselves can raise. The tree is drawn in `errors`."""

from typing import TypeVar

from schedules_async._operations.ref import OperationRef


class SchedulesError(Exception):
    """The base of every error that this library raises for what the service or the network did.

    `ref` names the operation concerned, or is None where there is none.
    """

    def __init__(self, message: str, *, ref: OperationRef | None = None) -> None:
        """Keep the message as the only argument, so that copies and pickles keep every fact."""
        super().__init__(message)
        self.ref = ref


class MalformedResponseError(SchedulesError):
    """An answer that breaks the contract: too large, not JSON, wrong types, or another operation."""


AnyError = TypeVar("AnyError", bound=Exception)


def own_copy(error: AnyError, ref: OperationRef | None = None) -> AnyError:
    """Copy an error with its facts and its cause, without its traceback: one for each who is told.

    `ref` names the operation that it is told of, if that is another. A subclass of the caller's may have a
    constructor of its own, which is not called.
    """
    twin = type(error).__new__(type(error), *error.args)
    twin.args = error.args
    twin.__dict__.update(error.__dict__)
    twin.__cause__ = error.__cause__
    if ref is not None and isinstance(twin, SchedulesError):
        twin.ref = ref
    return twin
