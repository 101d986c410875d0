"""What a fault of aiohttp becomes; how bodies are read is shown in test_transport.py."""

import traceback

import aiohttp
import pytest
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from schedules_async._http.body import to_transport_error
from schedules_async._operations.ref import OperationRef

REF = OperationRef("schedule", "operation")
SECRET = "Bearer secret"


def raised_with(fault: Exception, headers: dict[str, str], cause: Exception | None = None) -> Exception:
    """Raise as aiohttp does, where the request's headers stand in the frame."""
    assert headers
    try:
        raise fault from cause
    except type(fault) as error:
        return error


def response_error() -> aiohttp.ClientResponseError:
    headers = CIMultiDictProxy(CIMultiDict({"Authorization": SECRET}))
    request = aiohttp.RequestInfo(URL("https://example.com"), "GET", headers, URL("https://example.com"))
    return aiohttp.ClientResponseError(request, (), status=400, message="bad bytes")


@pytest.mark.parametrize("cause", [None, ValueError("behind")], ids=str)
@pytest.mark.parametrize(
    "fault", [OSError("reset"), TimeoutError(), response_error()], ids=lambda fault: type(fault).__name__
)
def test_an_error_shows_nothing_of_the_request(fault: Exception, cause: Exception | None) -> None:
    """Not in its repr, nor in the variables of a frame, which some tools print."""
    behind = raised_with(cause, {"Authorization": SECRET}) if cause else None
    error = to_transport_error(raised_with(fault, {"Authorization": SECRET}, behind), REF)
    shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert str(error) in shown
    assert type(error.__cause__).__name__ in shown
    assert "secret" not in shown
    assert error.ref == REF


@pytest.mark.parametrize(
    ("fault", "text"), [(OSError("reset"), "reset"), (TimeoutError(), "TimeoutError"), (response_error(), "bad bytes")]
)
def test_an_error_says_what_the_fault_was(fault: Exception, text: str) -> None:
    error = to_transport_error(fault)
    assert (str(error), error.ref, error.is_transient) == (text, None, True)


def test_fault_known_to_last_is_not_transient() -> None:
    assert not to_transport_error(RuntimeError("Session is closed"), is_transient=False).is_transient
    mismatch = aiohttp.ServerFingerprintMismatch(b"expected", b"got", "host", 443)
    assert not to_transport_error(mismatch, is_transient=True).is_transient
