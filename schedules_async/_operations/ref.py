"""References to operations: their two ids, and the texts that these are read from."""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Protocol
from urllib.parse import quote, unquote, urlsplit

from attrs import Attribute, field, frozen
from yarl import URL

from schedules_async._operations.fields import read_any_json

LONE_SURROGATE = re.compile("[\ud800-\udfff]")  # UTF-8 cannot encode it


class SupportsItems(Protocol):
    """Headers as aiohttp, httpx and a plain dict represent them."""

    def items(self) -> Iterable[tuple[str, str]]:
        """Return every header with its value."""


def _check_id(_: object, attribute: "Attribute[str]", value: str) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{attribute.name} must be text, not {type(value).__name__}")
    if value in ("", ".", ".."):
        raise ValueError(f"{attribute.name} must not be {value!r}")
    if not value.isascii() and LONE_SURROGATE.search(value):
        raise ValueError(f"{attribute.name} holds a lone surrogate")


@frozen(cache_hash=True)
class OperationRef:
    """A reference to one operation of one schedule.

    Both ids are opaque text; `""`, `"."` and `".."` are a ValueError, because in a URL they address another
    resource. A ref is hashable, unpacks into its two ids and prints as `schedule_id/operation_id`.

    >>> ref = OperationRef("my schedule", "1")
    >>> print(ref, *ref)
    my schedule/1 my schedule 1
    >>> ref.path
    '/schedules/my%20schedule/operations/1'
    >>> OperationRef("my schedule", "..")
    Traceback (most recent call last):
    ValueError: operation_id must not be '..'
    """

    schedule_id: str = field(validator=_check_id)
    operation_id: str = field(validator=_check_id)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the schedule's id and the operation's id."""
        return iter((self.schedule_id, self.operation_id))

    def __str__(self) -> str:
        """Return `schedule_id/operation_id`."""
        return f"{self.schedule_id}/{self.operation_id}"

    @property
    def path(self) -> str:
        """The resource's path, each id percent-encoded as one segment (RFC 3986 section 3.3)."""
        return _path(self.schedule_id, self.operation_id)

    @classmethod
    def parse(cls, text: str) -> "OperationRef":
        """Return the ref in `schedule_id/operation_id` or in an operation URL; raise ValueError for other text.

        >>> OperationRef.parse("schedule/1") == OperationRef.parse("https://any.example/schedules/schedule/operations/1")
        True
        """
        if isinstance(text, str) and text.count("/") == 1:
            return cls(*text.split("/"))
        return cls.from_url(text)

    @classmethod
    def from_url(cls, url: str | URL) -> "OperationRef":
        """Return the ref in an operation URL of any host and prefix; raise ValueError for another URL.

        >>> print(OperationRef.from_url("https://any.example/prefix/schedules/my%20schedule/operations/1?x=y"))
        my schedule/1
        """
        if not isinstance(url, str | URL):
            raise TypeError(f"expected a URL, not {type(url).__name__}")
        segments = urlsplit(str(url)).path.removesuffix("/").split("/")[-4:]
        if len(segments) != 4 or segments[0] != "schedules" or segments[2] != "operations":
            raise ValueError(f"not the URL of an operation: {url!s}")
        return cls(*(unquote(segment, errors="strict") for segment in segments[1::2]))

    @classmethod
    def from_response(
        cls, headers: SupportsItems, body: "Mapping[str, object] | str | bytes | None" = None
    ) -> "OperationRef | None":
        """Return the ref of the operation that a 202 (or 200) answer started; None if it started none.

        The location is the header `Operation-Location` (in any case), else `_links.operationLocation.href` of the
        body: parsed JSON, or its text. A location that is no operation URL is a ValueError.

        >>> print(OperationRef.from_response({"operation-location": "https://any.example/schedules/s/operations/1"}))
        s/1
        >>> body = '{"_links": {"operationLocation": {"href": "https://any.example/schedules/s/operations/2"}}}'
        >>> print(OperationRef.from_response({}, body))
        s/2
        >>> print(OperationRef.from_response({}, '{"task": {"id": "3"}}'))
        None
        """
        found = [value for name, value in headers.items() if name.lower() == "operation-location"]
        if found and found[0]:
            return cls.from_url(found[0])
        location: object = read_any_json(body) if isinstance(body, str | bytes) else body
        for name in ("_links", "operationLocation", "href"):
            location = location.get(name) if isinstance(location, Mapping) else None
        return cls.from_url(location) if isinstance(location, str) and location else None


RefLike = OperationRef | tuple[str, str] | str | URL


def as_ref(value: RefLike) -> OperationRef:
    """Return the ref that a ref, a pair of ids, a URL or the text `schedule_id/operation_id` means.

    Raise TypeError or ValueError for anything else.
    """
    if isinstance(value, OperationRef):
        return value
    if isinstance(value, str | URL):
        return OperationRef.parse(str(value))
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise TypeError(f"expected an OperationRef, a pair of ids, their text or a URL, not {value!r:.80}")
    return OperationRef(*value)


def as_refs(values: Iterable[RefLike]) -> tuple[OperationRef, ...]:
    """Return the refs of a group's operations."""
    if isinstance(values, OperationRef | str | URL):
        raise TypeError(f"expected an iterable of operations, not one {type(values).__name__}")
    return tuple(as_ref(value) for value in values)


@lru_cache(maxsize=1024)
def _path(schedule_id: str, operation_id: str) -> str:
    return f"/schedules/{quote(schedule_id, safe='')}/operations/{quote(operation_id, safe='')}"
