"""The results of aiohttp: complete answers within a size bound, and faults without bytes of requests or answers."""

import os
import socket
import ssl
import zlib
from datetime import UTC, datetime

import aiohttp
from aiohttp.http import HttpProcessingError
from attrs import define, field
from yarl import URL

from schedules_async._http.borrowed import Proxy, to_address
from schedules_async._http.responses import Answer, status_line
from schedules_async._operations.ref import OperationRef
from schedules_async.errors import ResponseError, TransportError

LARGEST_BODY = 1024 * 1024
MOST_VALUES = 32_768  # in one body: three bytes of JSON can take 250 of memory
_DELIMITERS = b",[{"
_OTHERS = bytes({*range(256)} - {*_DELIMITERS, *b'"'})  # all bytes but delimiters and quotes
_GZIP, _ZLIB, _RAW_DEFLATE = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS
_BLOCK = 4096  # bytes decoded at a time, as zlib copies what follows the end of a gzip member
_CERTIFICATE_FAULTS = (aiohttp.ClientConnectorCertificateError, aiohttp.ServerFingerprintMismatch)


def to_transport_error(
    fault: BaseException, url: URL, proxy: Proxy | None, ref: OperationRef | None = None, *, is_transient: bool = True
) -> TransportError:
    """Return the error to raise to the caller for a fault of a request to `url`, with its cause.

    A certificate failure is never transient; an answer of the proxy is transient like the same answer of the service.
    Neither the text nor the cause holds bytes of the request, of an answer or of a proxy's login. Raise it outside
    the except clause, or what aiohttp raised becomes the context.
    """
    cause = _find_cause(fault)
    if isinstance(fault, aiohttp.ClientHttpProxyError):
        text = f"cannot reach {to_address(url)}: {proxy or 'the proxy'} answered {status_line(fault.status)}"
        answer = ResponseError(text, status=fault.status)
        is_transient = is_transient and (answer.is_transient or answer.is_throttling)
    else:
        text = _describe(cause, url, proxy)
        is_transient = is_transient and not isinstance(fault, _CERTIFICATE_FAULTS)
    error = TransportError(text, ref=ref, is_transient=is_transient)
    error.__cause__ = cause
    return error


def _find_cause(fault: BaseException) -> BaseException:
    """Return the fault without its frames, or instead an aiohttp error without bytes of the answer."""
    if isinstance(fault, aiohttp.ClientHttpProxyError):
        return aiohttp.ClientError(f"the proxy answered {status_line(fault.status)}")
    if isinstance(fault, aiohttp.ClientPayloadError):
        return aiohttp.ClientPayloadError("the answer was cut off")
    if isinstance(fault, aiohttp.ServerDisconnectedError):
        return aiohttp.ServerDisconnectedError(fault.message if isinstance(fault.message, str) else None)
    if isinstance(fault, aiohttp.ClientResponseError | HttpProcessingError):
        return aiohttp.ClientError("the answer holds bytes that are not HTTP")
    if isinstance(fault, aiohttp.ClientConnectorError):
        key = fault.args[0]._replace(proxy=None, proxy_auth=None, proxy_headers_hash=None)
        fault.args = (key, *fault.args[1:])
        vars(fault)["_conn_key"] = key
    part: BaseException | None = fault
    while part is not None and part.__traceback__ is not None:
        part.__traceback__ = None
        part = part.__cause__ or part.__context__
    return fault


def _describe(cause: BaseException, url: URL, proxy: Proxy | None) -> str:
    address = to_address(url)
    if isinstance(cause, aiohttp.ServerFingerprintMismatch):
        return f"the certificate of {address} has another fingerprint"
    if isinstance(cause, aiohttp.ClientConnectorCertificateError):
        reason = cause.certificate_error
        return f"the certificate of {address} is not trusted: {getattr(reason, 'verify_message', reason)}"
    if isinstance(cause, aiohttp.ClientProxyConnectionError):
        return f"cannot reach {proxy or 'the proxy'}: {_reason(cause.os_error)}"
    if isinstance(cause, aiohttp.ClientConnectorError):
        cause = cause.os_error
    elif not isinstance(cause, OSError | aiohttp.ServerDisconnectedError):
        return str(cause) or type(cause).__name__
    return f"cannot reach {address}{f' through {proxy}' if proxy else ''}: {_reason(cause)}"


def _reason(error: OSError | aiohttp.ServerDisconnectedError) -> str:
    """Return the reason of a fault: for an error number the system's text, as asyncio's repeats the address.

    The error numbers of a resolver are negative.
    """
    if isinstance(error, socket.gaierror):
        return f"the name of the host cannot be resolved ({error.strerror})"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {(error.reason or str(error)).replace('_', ' ').lower()}"
    if isinstance(error, TimeoutError):
        return str(error) or "no complete answer in time"
    number = getattr(error, "errno", None) or 0
    text = os.strerror(number) if number > 0 else getattr(error, "strerror", None) or str(error) or "connection closed"
    return text[0].lower() + text[1:]


async def read_whole(response: aiohttp.ClientResponse, proxy: Proxy | None) -> Answer:
    """Return a complete answer, and release its connection.

    Raise ClientHttpProxyError for a 407 to plain http through a proxy: it is the proxy's own (RFC 9110 15.5.8).
    """
    try:
        if response.status == 407 and proxy is not None and response.url.scheme == "http":
            raise aiohttp.ClientHttpProxyError(response.request_info, (), status=response.status)
        received = datetime.now(UTC) if "Retry-After" in response.headers else None
        body, problem = (b"", None) if response.status == 304 else await _read_body(response)
        return Answer(response.status, response.headers, body, problem, received)
    finally:
        if not response.closed:
            response.release()


async def _read_body(response: aiohttp.ClientResponse) -> tuple[bytes, str | None]:
    """Return a decoded body, or the reason why there is none; never hold more than LARGEST_BODY."""
    encoding = ",".join(response.headers.getall("Content-Encoding", ())).strip().lower()
    decoder = None if encoding in ("", "identity") else _Decoder(encoding)
    body, received = bytearray(), 0
    async for piece in response.content.iter_any():
        received += len(piece)
        body += piece if decoder is None else decoder.decode(piece, LARGEST_BODY + 1 - len(body))
        if max(received, len(body)) > LARGEST_BODY:
            response.close()
            return b"", f"the body is larger than {LARGEST_BODY} bytes"
    if decoder is not None and not decoder.is_complete:
        return b"", "the body cannot be decoded"
    if len(body) > MOST_VALUES and _has_too_many_values(bytes(body)):
        return b"", f"the body holds more than {MOST_VALUES} values"
    return bytes(body), None


def _has_too_many_values(body: bytes) -> bool:
    """Return True if a JSON text may hold more than MOST_VALUES values: it has at most one more than delimiters.

    Those inside strings do not count, once it is certain that there are too many with them.
    """
    if sum(map(body.count, _DELIMITERS)) <= MOST_VALUES:
        return False
    bare = body.replace(rb"\\", b"").replace(rb"\"", b"").translate(None, _OTHERS)
    return sum(map(len, bare.split(b'"')[::2])) > MOST_VALUES  # every other part was inside a string


@define(eq=False, repr=False)
class _Decoder:
    """Decodes one Content-Encoding within a bound, gzip also in several members (RFC 1952 section 2.2)."""

    _encoding: str
    _zlib: "zlib._Decompress | None" = field(init=False, default=None)
    _is_broken: bool = field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        self._is_broken = self._encoding not in ("gzip", "x-gzip", "deflate")

    def decode(self, piece: bytes, most: int) -> bytes:
        """Return the decoded piece, at most `most` bytes of it; empty if it cannot be decoded."""
        if self._is_broken:
            return b""
        decoded = bytearray()
        try:
            for start in range(0, len(piece), _BLOCK):
                self._decode_block(piece[start : start + _BLOCK], decoded, most)
        except zlib.error:
            self._is_broken = True
        return bytes(decoded)

    def _decode_block(self, block: bytes, decoded: bytearray, most: int) -> None:
        while block and len(decoded) < most:
            if self._zlib is None or self._zlib.eof:
                self._zlib = self._next_member(block[0])
            decoded += self._zlib.decompress(block, most - len(decoded))
            block = self._zlib.unused_data

    def _next_member(self, first_byte: int) -> "zlib._Decompress":
        """Return a decoder; deflate may be zlib data or raw (RFC 9110 section 8.4.1.2), as the first byte shows."""
        if self._encoding != "deflate":
            return zlib.decompressobj(_GZIP)
        if self._zlib is not None:
            raise zlib.error("bytes after the end")
        return zlib.decompressobj(_ZLIB if first_byte & 0x0F == zlib.DEFLATED else _RAW_DEFLATE)

    @property
    def is_complete(self) -> bool:
        """True if all input could be decoded, to the end of the stream."""
        return not self._is_broken and (self._zlib is None or self._zlib.eof)
