"""The base of the error tree, and copies of an error."""

import traceback
from asyncio import CancelledError
from pathlib import Path
from typing import Any, NoReturn, Self

import pytest
from attrs import define, frozen

from schedules_async._operations.base_errors import MalformedResponseError, SchedulesError, copy_error, to_callers_error
from schedules_async._operations.ref import OperationRef
from schedules_async.errors import RateLimitedError

REF = OperationRef("s", "o")


class OtherSignatureError(Exception):
    def __init__(self, code: int, *, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code


class CountingError(Exception):
    made = 0

    def __init__(self) -> None:
        type(self).made += 1

    def __reduce__(self) -> NoReturn:
        raise AssertionError("copies do not pickle")


class OddNewError(Exception):
    def __new__(cls, *parts: str) -> Self:
        error = super().__new__(cls, "-".join(parts))
        error.args = ("-".join(parts),)
        return error

    def __init__(self, first: str, second: str) -> None:
        self.parts = [first, second]


class SlottedError(Exception):
    __slots__ = ("empty", "full", "never")
    empty: object
    full: object


@frozen
class FrozenError(Exception):
    code: int


@define
class DefinedError(SchedulesError):
    code: int
    ref: OperationRef | None = None


class MixedError(KeyError, OSError):
    """Has the layout of its second base."""


class PartlyMadeError(UnicodeDecodeError):
    def __init__(self, text: str) -> None:
        """Leave the fields of the base class unset."""


class SecretiveError(Exception):
    def __getattribute__(self, name: str) -> object:
        raise RuntimeError("nothing to read here")


def raised(error: Exception) -> Exception:
    with pytest.raises(type(error)) as caught:
        raise error
    return caught.value


def open_nothing() -> Exception:
    with pytest.raises(OSError, match="nonexistent") as caught:
        Path("/nonexistent/file").stat()
    return caught.value


def changed_decode_error() -> UnicodeDecodeError:
    error = UnicodeDecodeError("utf-8", b"ab\xff", 0, 1, "as made")
    error.start, error.end, error.reason = 2, 3, "as changed"
    return error


def slotted_error() -> SlottedError:
    error = SlottedError("slots")
    error.full, error.empty = 1, None
    return error


ERRORS: list[BaseException] = [
    ValueError("text", 5),
    KeyError("key"),
    OSError("reset"),
    OSError(2, "no such file", "name", None, "name2"),
    ConnectionResetError(104, "reset"),
    BlockingIOError(11, "busy", 7),
    open_nothing(),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    changed_decode_error(),
    UnicodeEncodeError("ascii", "é", 0, 1, "not in range"),
    ImportError("no module", name="module", path="/path"),
    SyntaxError("bad", ("file", 1, 2, "text")),
    StopIteration("value"),
    NameError("name", name="name"),
    AttributeError("attribute", name="attribute", obj=5),
    ExceptionGroup("group", [ValueError("a"), ExceptionGroup("inner", [KeyError("b")])]),
    BaseExceptionGroup("group", [KeyboardInterrupt("a")]),
    KeyboardInterrupt(),
    OtherSignatureError(5, reason="odd"),
    CountingError(),
    OddNewError("a", "b"),
    slotted_error(),
    FrozenError(5),
    DefinedError(5, REF),
    MixedError(5, "mixed"),
    PartlyMadeError("text"),
]
FIELDS = (
    *("args", "errno", "strerror", "filename", "filename2", "characters_written", "encoding", "object", "start", "end"),
    *("reason", "name", "path", "msg", "lineno", "offset", "text", "value", "obj", "message", "exceptions", "code"),
    *("full", "empty", "never", "parts", "ref"),
)


def facts_of(error: BaseException) -> dict[str, Any]:
    return {name: getattr(error, name, ...) for name in FIELDS}


def test_error_keeps_its_message_and_ref() -> None:
    error = MalformedResponseError("not JSON", ref=REF)
    assert isinstance(error, SchedulesError)
    assert str(error) == "not JSON"
    assert error.args == ("not JSON",)
    assert error.ref is REF
    assert SchedulesError("down").ref is None


def test_copy_of_own_error_has_no_traceback() -> None:
    cause = OSError("reset")
    with pytest.raises(MalformedResponseError) as caught:
        raise MalformedResponseError("cut off", ref=REF) from cause
    assert caught.value.__traceback__ is not None
    twin = copy_error(caught.value)
    assert twin is not caught.value
    assert type(twin) is MalformedResponseError
    assert (str(twin), twin.ref) == ("cut off", REF)
    assert twin.__cause__ is cause
    assert twin.__traceback__ is None
    assert twin.__context__ is None
    assert copy_error(SchedulesError("alone")).__cause__ is None
    assert not copy_error(SchedulesError("alone")).__suppress_context__  # the context of its caller's is shown


def test_copy_with_ref_concerns_that_operation() -> None:
    other = OperationRef("s", "p")
    error = SchedulesError("down", ref=REF)
    assert (copy_error(error, other).ref, error.ref) == (other, REF)
    assert not hasattr(copy_error(ValueError("caller's"), other), "ref")


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: repr(error)[:40])
def test_copy_of_any_exception_keeps_its_facts(error: BaseException) -> None:
    """Whatever its constructor asks for, its text and its fields are those of the original."""
    made = CountingError.made
    twin = copy_error(error)
    assert twin is not error
    assert type(twin) is type(error)
    assert facts_of(twin) == facts_of(error)
    assert (str(twin), repr(twin)) == (str(error), repr(error))
    assert vars(twin) == vars(error)
    assert vars(twin) is not vars(error)
    assert CountingError.made == made


def test_copy_of_foreign_error_keeps_frames() -> None:
    """Each time that the copy is raised, frames are added to the copy alone."""
    error = raised(ValueError("caller's"))
    frames = len(traceback.extract_tb(error.__traceback__))
    twin = copy_error(error)
    assert traceback.extract_tb(twin.__traceback__) == traceback.extract_tb(error.__traceback__)
    for _ in range(3):
        raised(twin)
    assert len(traceback.extract_tb(twin.__traceback__)) == frames + 3
    assert len(traceback.extract_tb(error.__traceback__)) == frames


class CallersOwnError(SchedulesError):
    """A class of the caller's, derived from one of the library's."""


@pytest.mark.parametrize("kind", [ValueError, CallersOwnError])
@pytest.mark.parametrize("is_suppressed", [True, False])
def test_copy_keeps_cause_context_and_suppression(kind: type[Exception], is_suppressed: bool) -> None:
    error = kind("caller's")
    error.__cause__, error.__context__, error.__suppress_context__ = KeyError("a"), OSError("b"), is_suppressed
    twin = copy_error(error)
    assert (twin.__cause__, twin.__context__) == (error.__cause__, error.__context__)
    assert twin.__suppress_context__ is is_suppressed


def test_copy_has_notes_of_its_own() -> None:
    error = ValueError("caller's")
    error.add_note("one")
    twin = copy_error(error)
    twin.add_note("two")
    assert (error.__notes__, twin.__notes__) == (["one"], ["one", "two"])


def test_copy_keeps_notes_of_another_type() -> None:
    error = ValueError("caller's")
    vars(error)["__notes__"] = "odd"
    assert vars(copy_error(error)) == {"__notes__": "odd"}


def test_copy_has_facts_of_its_own() -> None:
    """Callers who get copies of one error share neither its notes nor its headers."""
    error = RateLimitedError("429", limits={"ITwinPlatform-RateLimited-Tier": "Community"})
    error.add_note("one")
    twin = copy_error(error)
    twin.add_note("two")
    twin.limits.clear()
    assert (error.__notes__, error.limits) == (["one"], {"ITwinPlatform-RateLimited-Tier": "Community"})
    foreign = OddNewError("a", "b")
    copy_error(foreign).parts.clear()
    assert foreign.parts == ["a", "b"]


def test_class_that_forbids_copying_yields_original() -> None:
    error = SecretiveError()
    assert copy_error(error) is error


@pytest.mark.parametrize("error", [CancelledError("stopped"), GeneratorExit()])
def test_cancellation_out_of_callers_code_becomes_runtime_error(error: BaseException) -> None:
    """Nobody has cancelled the caller."""
    converted = to_callers_error(error)
    assert type(converted) is RuntimeError
    assert type(error).__name__ in str(converted)
    assert converted.__cause__ is error


@pytest.mark.parametrize("error", [LookupError("x"), KeyboardInterrupt(), SchedulesError("x")])
def test_other_error_of_callers_code_is_unchanged(error: BaseException) -> None:
    assert to_callers_error(error) is error
