"""Errors keep their facts, whatever is done to them."""

import copy
import pickle
from typing import Any

import pytest

from schedules_async import errors
from schedules_async._operations.base_errors import copy_error
from schedules_async._operations.operation import Operation, OperationStatus
from schedules_async._operations.ref import OperationRef
from schedules_async.errors import (
    AuthenticationError,
    ErrorDetail,
    MalformedResponseError,
    NotFoundError,
    OperationFailedError,
    OperationGroupError,
    OperationStalledError,
    OperationTimeoutError,
    PermissionDeniedError,
    RateLimitedError,
    ResponseError,
    SchedulesError,
    ServerError,
    SessionClosedError,
    TransportError,
    WaitError,
)

REF = OperationRef("s", "o")
OPERATION = Operation("o", "s", OperationStatus.FAILED, failure_description="disk full", etag='"1"')
FACTS: dict[str, Any] = {
    "ref": REF,
    "status": 404,
    "code": "OperationNotFound",
    "message": "Requested Operation is not available.",
    "target": "operationId",
    "details": (ErrorDetail("a", "b", "c"), ErrorDetail(), ErrorDetail(target="t")),
    "retry_after": 7.0,
    "correlation_id": "c0ffee",
}
LIMITS = {"ITwinPlatform-RateLimited-Tier": "Community"}
FULL: list[SchedulesError] = [
    SchedulesError("x", ref=REF),
    MalformedResponseError("x", ref=REF),
    SessionClosedError("x", ref=REF),
    TransportError("x", ref=REF, is_transient=False),
    ResponseError("x", **FACTS),
    AuthenticationError("x", **FACTS),
    PermissionDeniedError("x", **FACTS),
    NotFoundError("x", **FACTS),
    ServerError("x", **FACTS),
    RateLimitedError("x", limits=LIMITS, **FACTS),
    WaitError("x", ref=REF, operation=OPERATION),
    OperationFailedError("x", ref=REF, operation=OPERATION),
    OperationTimeoutError("x", ref=REF, operation=OPERATION),
    OperationStalledError("x", ref=REF, operation=OPERATION),
]
BARE: list[SchedulesError] = [type(error)("x") for error in FULL]


@pytest.mark.parametrize("error", [*FULL, *BARE], ids=lambda error: f"{type(error).__name__}-{error.ref}")
def test_pickles_and_copies_keep_class_and_facts(error: SchedulesError) -> None:
    pickles = [pickle.loads(pickle.dumps(error, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    for twin in (*pickles, copy.copy(error), copy.deepcopy(error), copy_error(error)):
        assert type(twin) is type(error)
        assert vars(twin) == vars(error)
        assert twin.args == error.args == ("x",)
        assert str(twin) == "x"
        if isinstance(twin, WaitError) and twin.operation is not None:
            assert twin.operation.etag == '"1"'


def test_facts_not_given_are_none_or_empty() -> None:
    for error in BARE:
        facts = dict(vars(error))
        assert facts.pop("is_transient", isinstance(error, ResponseError)) is isinstance(error, TransportError)
        assert facts.pop("is_throttling", False) is False
        assert facts.pop("details", ()) == ()
        assert facts.pop("limits", {}) == {}
        assert set(facts.values()) == {None}


def test_compared_facts_are_attributes() -> None:
    """Pytest shows them where an `assert` of two errors fails."""
    for error in BARE:
        assert all(hasattr(error, name) for name, fact in error.__dataclass_fields__.items() if fact.compare)


def test_limits_are_not_shared_between_errors() -> None:
    one, other = RateLimitedError("x", limits=LIMITS), RateLimitedError("x", limits=LIMITS)
    one.limits["ITwinPlatform-RateLimited-API"] = "schedules"
    assert other.limits == LIMITS == {"ITwinPlatform-RateLimited-Tier": "Community"}


def test_limits_of_none_are_empty() -> None:
    facts: dict[str, Any] = {"limits": None}
    assert RateLimitedError("x", **facts).limits == {}


def test_subclass_initializes_its_other_bases() -> None:
    """As an application does that has a base class for all of its own errors."""

    class ApplicationError(Exception):
        def __init__(self, text: str) -> None:
            super().__init__(text)
            self.shown = text.upper()

    class MissingError(NotFoundError, ApplicationError):
        pass

    class LostError(WaitError, ApplicationError):
        pass

    for error in (MissingError("gone", ref=REF), LostError("gone", ref=REF)):
        assert (str(error), error.shown, error.ref) == ("gone", "GONE", REF)


def test_operation_timeout_is_a_timeout_error() -> None:
    error = OperationTimeoutError("too late", ref=REF, operation=OPERATION)
    with pytest.raises(TimeoutError, match=r"^too late$"):
        raise error
    assert (error.ref, error.operation) == (REF, OPERATION)
    assert error.errno is None
    timeouts = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, TimeoutError)]
    assert timeouts == [OperationTimeoutError]


def test_tree_has_no_argument_errors() -> None:
    for error in FULL:
        assert not isinstance(error, ValueError | TypeError)


OTHER = OperationRef("s", "p")
FOREIGN = OperationRef("s", "foreign")


def group_of_three() -> OperationGroupError:
    """Lose two operations to errors of this library, and one to an exception of the caller's code."""
    lost = {REF: NotFoundError("404", ref=REF), OTHER: TransportError("reset", ref=OTHER), FOREIGN: KeyError("own")}
    return OperationGroupError("3 of 9", list(lost.values()), errors=lost, operations={REF: OPERATION})


def held_by(group: OperationGroupError) -> dict[OperationRef, str]:
    """Describe the errors, each of which the group itself holds."""
    assert {id(error) for error in group.errors.values()} == {id(error) for error in group.exceptions}
    return {ref: repr(error) for ref, error in group.errors.items()}


def test_group_errors_are_named_by_their_refs() -> None:
    assert OperationGroupError(
        "2 of 2", [NotFoundError("a", ref=REF), TransportError("b", ref=OTHER)]
    ).errors.keys() == {
        REF,
        OTHER,
    }
    assert OperationGroupError("2 of 2", [NotFoundError("a"), KeyError("b")]).errors == {}
    error: Exception = group_of_three().errors[FOREIGN]
    assert isinstance(error, KeyError)


def test_group_errors_named_otherwise_are_left_out() -> None:
    """The exceptions are the truth: a name for another exception counts for nothing."""
    group = OperationGroupError("1 of 9", [KeyError("a")], errors={REF: KeyError("a")})
    assert group.errors == {}


def test_group_copies_hold_their_own_errors() -> None:
    group = group_of_three()
    pickles = [pickle.loads(pickle.dumps(group, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    for twin in (*pickles, copy.copy(group), copy.deepcopy(group), copy_error(group)):
        assert type(twin) is OperationGroupError
        assert held_by(twin) == held_by(group)
        assert twin.operations == group.operations


def test_group_parts_hold_their_own_errors() -> None:
    group = group_of_three()
    lost, rest = group.split((NotFoundError, TransportError))
    assert isinstance(lost, OperationGroupError)
    assert isinstance(rest, OperationGroupError)
    assert held_by(lost) == {REF: "NotFoundError('404')", OTHER: "TransportError('reset')"}
    assert held_by(rest) == {FOREIGN: "KeyError('own')"}
    part = group.subgroup(TransportError)
    assert isinstance(part, OperationGroupError)
    assert held_by(part).keys() == {OTHER}
    assert held_by(group.derive([group.exceptions[2]])).keys() == {FOREIGN}
    assert lost.operations == part.operations == {REF: OPERATION}
