"""What comes back from aiohttp: answers, whole and within a bound, and faults that do not show the request."""

import zlib

import aiohttp
from aiohttp.http import HttpProcessingError
from attrs import define, field

from schedules_async._http.responses import Answer
from schedules_async._operations.ref import OperationRef
from schedules_async.errors import TransportError

LARGEST_BODY = 1024 * 1024
MOST_VALUES = 32_768  # in one body: three bytes of JSON can take 250 of memory
FAULTS = (aiohttp.ClientError, HttpProcessingError, OSError, EOFError, ValueError, RuntimeError)
_GZIP, _ZLIB, _RAW_DEFLATE = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS
_CERTIFICATE_FAULTS = (aiohttp.ClientConnectorCertificateError, aiohttp.ServerFingerprintMismatch)


def to_transport_error(
    fault: BaseException, ref: OperationRef | None = None, *, is_transient: bool = True
) -> TransportError:
    """Return the error that a fault is to the caller, with what lies behind it as its cause.

    A certificate failure is never transient. Call this outside the except clause: what aiohttp raised may carry the
    request's headers, and would be the context.
    """
    cause = _without_request(fault)
    is_transient = is_transient and not isinstance(fault, _CERTIFICATE_FAULTS)
    error = TransportError(str(cause) or type(fault).__name__, ref=ref, is_transient=is_transient)
    error.__cause__ = cause
    return error


def _without_request(fault: BaseException) -> BaseException:
    """Give what lies behind an error that carries the request (and with it a secret), in its repr or in its frames."""
    if isinstance(fault, aiohttp.ClientResponseError):
        fault = fault.__cause__ or aiohttp.ClientError(fault.message)
    part: BaseException | None = fault
    while part is not None and part.__traceback__ is not None:
        part.__traceback__ = None
        part = part.__cause__ or part.__context__
    return fault


async def read_whole(response: aiohttp.ClientResponse) -> Answer:
    """Read an answer to its end, and give its connection back."""
    try:
        if response.status == 304:
            return Answer(304, response.headers)
        return Answer(response.status, response.headers, *await _read_body(response))
    finally:
        if not response.closed:
            response.release()


async def _read_body(response: aiohttp.ClientResponse) -> tuple[bytes, str | None]:
    """Read and decode a body piece by piece; give it, or why it cannot be had, never holding more than the bound."""
    decoder = _Decoder(",".join(response.headers.getall("Content-Encoding", ())))
    body, received = bytearray(), 0
    async for piece in response.content.iter_any():
        received += len(piece)
        body += decoder.decode(piece, LARGEST_BODY + 1 - len(body))
        if max(received, len(body)) > LARGEST_BODY:
            response.close()
            return b"", f"the body is larger than {LARGEST_BODY} bytes"
    if not decoder.is_complete:
        return b"", "the body cannot be decoded"
    if _count_values(body) > MOST_VALUES:
        return b"", f"the body holds more than {MOST_VALUES} values"
    return bytes(body), None


def _count_values(body: bytearray) -> int:
    """Count at least the values of a JSON text, from the marks between them; short texts hold few."""
    return sum(map(body.count, b",[{")) if len(body) > MOST_VALUES else 0


@define(eq=False, repr=False)
class _Decoder:
    """Undoes one Content-Encoding within a bound; what it cannot decode it leaves out and says so."""

    _encoding: str
    _zlib: "zlib._Decompress | None" = field(init=False, default=None)
    _is_broken: bool = field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        self._encoding = self._encoding.strip().lower()
        self._is_broken = self._encoding not in ("", "identity", "gzip", "x-gzip", "deflate")

    def decode(self, piece: bytes, most: int) -> bytes:
        """Decode the next piece, to `most` bytes at the most."""
        if self._is_broken or self._encoding in ("", "identity"):
            return b"" if self._is_broken else piece
        if self._zlib is None:
            self._zlib = zlib.decompressobj(self._window_bits(piece[0]))
        try:
            return self._zlib.decompress(piece, most)
        except zlib.error:
            self._is_broken = True
            return b""

    def _window_bits(self, first_byte: int) -> int:
        """Tell gzip, zlib and raw deflate apart; servers send both of the latter as deflate (RFC 9110 8.4.1.2)."""
        if self._encoding != "deflate":
            return _GZIP
        return _ZLIB if first_byte & 0x0F == zlib.DEFLATED else _RAW_DEFLATE

    @property
    def is_complete(self) -> bool:
        """Tell whether everything fed could be decoded, to the end of the stream."""
        if self._is_broken or self._zlib is None:
            return not self._is_broken
        return self._zlib.eof and not self._zlib.unused_data
