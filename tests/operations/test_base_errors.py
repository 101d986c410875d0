"""The foot of the error tree, and copies of an error."""

import pytest

from schedules_async._operations.base_errors import MalformedResponseError, SchedulesError, own_copy
from schedules_async._operations.ref import OperationRef

REF = OperationRef("s", "o")


def test_an_error_says_what_happened_and_where() -> None:
    error = MalformedResponseError("not JSON", ref=REF)
    assert isinstance(error, SchedulesError)
    assert str(error) == "not JSON"
    assert error.args == ("not JSON",)
    assert error.ref is REF
    assert SchedulesError("down").ref is None


def test_an_own_copy_keeps_facts_and_cause_and_leaves_the_traceback() -> None:
    cause = OSError("reset")
    with pytest.raises(MalformedResponseError) as caught:
        raise MalformedResponseError("cut off", ref=REF) from cause
    assert caught.value.__traceback__ is not None
    twin = own_copy(caught.value)
    assert twin is not caught.value
    assert type(twin) is MalformedResponseError
    assert (str(twin), twin.ref) == ("cut off", REF)
    assert twin.__cause__ is cause
    assert twin.__traceback__ is None
    assert twin.__context__ is None
    assert own_copy(SchedulesError("alone")).__cause__ is None
