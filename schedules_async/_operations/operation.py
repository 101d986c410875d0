"""Snapshots of operations as frozen values, and the JSON that they are read from and written to."""

import json
import sys
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any

from attrs import Factory, field, frozen
from cattrs import Converter
from cattrs.gen import make_dict_structure_fn, override

from schedules_async._operations.base_errors import MalformedResponseError
from schedules_async._operations.fields import parse_tag, parse_timestamp, read_json
from schedules_async._operations.ref import LONE_SURROGATE, OperationRef


class OperationStatus(StrEnum):
    """The status of an operation, spelled as the service spells it; only Succeeded and Failed are final.

    A status that this library does not know is UNKNOWN, with its text in `Operation.raw_status`.

    >>> operation = Operation.from_json('{"operation": {"id": "1", "status": "Paused"}}', "s")
    >>> str(operation.status), operation.raw_status, operation.is_done
    ('Unknown', 'Paused', False)
    """

    QUEUED = "Queued"
    STARTED = "Started"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    UNKNOWN = "Unknown"


_STATUSES = {status.value: status for status in OperationStatus}
_FAILED = (OperationStatus.FAILED,)
_FINAL = (OperationStatus.SUCCEEDED, *_FAILED)
_NAMES = {  # of the attributes, in the service's JSON
    "id": "id",
    "schedule_id": "scheduleId",
    "raw_status": "status",
    "percent_complete": "percentComplete",
    "sub_status": "subStatus",
    "failure_description": "failureDescription",
    "created_at": "createdAt",
    "updated_at": "updatedAt",
    "etag": "etag",
}


def _spell_status(operation: "Operation") -> str:
    return operation.status.value


@frozen
class Operation:
    """One snapshot of a long-running operation, as the service sent it.

    `percent_complete` is as sent, also outside 0 to 100; null or absent reads 0.0. `etag` does not count
    when snapshots are compared. `status` may also be given as text.

    >>> Operation("1", "s", OperationStatus.STARTED, etag='"a"') == Operation("1", "s", OperationStatus.STARTED)
    True
    """

    id: str
    schedule_id: str
    status: OperationStatus = field(converter=OperationStatus)
    raw_status: str = field(default=Factory(_spell_status, takes_self=True))
    percent_complete: float = 0.0
    sub_status: str | None = None
    failure_description: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    etag: str | None = field(default=None, eq=False)

    @raw_status.validator
    def _check_status(self, _: object, value: str) -> None:
        if _STATUSES.get(value, OperationStatus.UNKNOWN) is not self.status:
            raise ValueError(f"raw_status {value!r} does not read as {self.status!r}")

    def __str__(self) -> str:
        """Return one short line with ref, status, progress, and why the operation failed.

        >>> print(Operation("1", "s", OperationStatus.STARTED, percent_complete=42.5))
        s/1 Started 42.5 %
        """
        status, reason = (" ".join(text.split())[:100] for text in (self.raw_status, self.failure_description or ""))
        line = f"{self.ref} {status} {self.percent_complete:g} %"
        return f"{line} ({reason})" if reason else line

    @property
    def ref(self) -> OperationRef:
        """The operation's ref."""
        return OperationRef(self.schedule_id, self.id)

    @property
    def is_done(self) -> bool:
        """True if the status is final."""
        return self.status in _FINAL

    @property
    def is_succeeded(self) -> bool:
        """True if the status is Succeeded."""
        return self.status is OperationStatus.SUCCEEDED

    @property
    def is_failed(self) -> bool:
        """True if the status is Failed."""
        return self.status in _FAILED

    @property
    def fraction(self) -> float:
        """The progress from 0 to 1, for bars; 1.0 once done.

        >>> [Operation("1", "s", OperationStatus.STARTED, percent_complete=sent).fraction for sent in (-5, 50, 105)]
        [0.0, 0.5, 1.0]
        >>> Operation("1", "s", OperationStatus.FAILED, percent_complete=50).fraction
        1.0
        """
        return 1.0 if self.is_done else min(max(self.percent_complete / 100, 0.0), 1.0)

    def to_json(self) -> str:
        """Return JSON text in the service's own form, with `scheduleId` and `etag` added.

        >>> operation = Operation("1", "s", OperationStatus.SUCCEEDED, percent_complete=100, etag='"a"')
        >>> Operation.from_json(operation.to_json()) == operation
        True
        """
        return json.dumps({"operation": self.to_dict()})

    def to_dict(self) -> dict[str, Any]:
        """Return the object that `to_json` writes under `operation`; its values can be written as JSON.

        >>> operation = Operation("1", "s", OperationStatus.SUCCEEDED)
        >>> operation.to_dict()["status"]
        'Succeeded'
        """
        values = {sent: getattr(self, name) for name, sent in _NAMES.items()}
        return {sent: each.isoformat() if isinstance(each, datetime) else each for sent, each in values.items()}

    @classmethod
    def from_json(cls, text: str | bytes, schedule_id: str | None = None) -> "Operation":
        """Return the snapshot in an answer of the service, or in text that `to_json` wrote.

        `schedule_id` is required (ValueError) unless the text names the schedule, over which it takes precedence. Raise
        MalformedResponseError for text that breaks the contract.

        >>> Operation.from_json('{"operation": {"id": "1", "status": "Started", "percentComplete": "50"}}', "s")
        Traceback (most recent call last):
        schedules_async.MalformedResponseError: the operation breaks the contract: expected a number, not str '50'
        """
        if not isinstance(text, str | bytes):
            raise TypeError(f"text must be str or bytes, not {type(text).__name__}")
        if schedule_id is not None:
            OperationRef(schedule_id, "any")
        document = read_document(text)
        tag = document.get("etag")
        named = document.get("scheduleId") if schedule_id is None else schedule_id
        if named is None:
            raise ValueError("schedule_id is required: the text does not name the schedule")
        operation = structure_operation(document, named, parse_tag([tag] if isinstance(tag, str) else []))
        try:
            OperationRef(operation.schedule_id, operation.id)
        except ValueError as error:
            raise MalformedResponseError(f"the operation breaks the contract: {error}") from error
        return operation


def read_document(text: str | bytes) -> dict[str, Any]:
    """Return the JSON object under `operation`; a byte order mark is ignored, the last of equal names wins."""
    try:
        answer = read_json(text)
    except (ValueError, RecursionError) as error:
        raise MalformedResponseError(f"the answer is not JSON: {type(error).__name__}") from error
    document = answer.get("operation") if isinstance(answer, dict) else None
    if not isinstance(document, dict):
        raise MalformedResponseError("the answer holds no object named operation")
    return document


def structure_operation(document: dict[str, Any], schedule_id: object, etag: str | None) -> Operation:
    """Return the snapshot in the JSON object under `operation`."""
    try:
        return _converter().structure({**document, "scheduleId": schedule_id, "etag": etag}, Operation)
    except KeyError as error:
        raise MalformedResponseError(f"the operation lacks {error}") from error
    except (ValueError, TypeError) as error:
        raise MalformedResponseError(f"the operation breaks the contract: {error}") from error


def to_text(value: object) -> str | None:
    """Return a value that is text without lone surrogates, None for any other."""
    return value if isinstance(value, str) and not LONE_SURROGATE.search(value) else None


def _read_text(value: object, _: object) -> str:
    if (text := to_text(value)) is None:
        raise TypeError(f"expected text, not {_kind(value)}")
    return text


def _read_number(value: object, _: object) -> float:
    if value is None:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"expected a number, not {_kind(value)}")
    if not abs(value) <= sys.float_info.max:  # nor is NaN
        raise ValueError(f"expected a finite number, not {_kind(value)}")
    return float(value)


def _read_status(value: object, _: object) -> OperationStatus:
    return _STATUSES.get(_read_text(value, _), OperationStatus.UNKNOWN)


def _read_timestamp(value: object, _: object) -> datetime:
    timestamp = parse_timestamp(value) if isinstance(value, str) else None
    if timestamp is None:
        raise ValueError(f"expected a timestamp, not {_kind(value)}")
    return timestamp


def _kind(value: object) -> str:
    """Return the type of a value, and the value if it cannot be nested."""
    quoted = f" {str(value)[:40]!a}" if isinstance(value, str | int | float) else ""
    return f"{type(value).__name__}{quoted}"


@cache
def _converter() -> Converter:
    """Return a converter for the service's names that coerces no types (cattrs makes 50.0 of "50")."""
    converter = Converter(detailed_validation=False)
    converter.register_structure_hook(str, _read_text)
    converter.register_structure_hook(OperationStatus, _read_status)
    converter.register_structure_hook(float, _read_number)
    converter.register_structure_hook(datetime, _read_timestamp)
    names: dict[str, Any] = {name: override(rename=sent) for name, sent in _NAMES.items()}
    read_operation = make_dict_structure_fn(Operation, converter, **names)
    converter.register_structure_hook(Operation, read_operation)
    return converter
