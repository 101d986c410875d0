"""Checkpoints: the state of a wait as JSON text without credentials, to resume it in another process. Pure.

The text is an object with `format`, `version`, `wait`, and `digest`, the SHA-256 of `wait` in canonical form.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from schedules_async._operations.base_errors import MalformedResponseError
from schedules_async._operations.fields import parse_tag, read_json
from schedules_async._operations.operation import Operation, structure_operation
from schedules_async._operations.ref import OperationRef

_FORMAT = "schedules_async checkpoint"
_VERSION = 1
_MALFORMED = (LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError, MalformedResponseError)


@frozen
class Checkpoint:
    """The state from which a wait is resumed: `refs` as asked for, and the newest snapshots, `saved`.

    `timeout` is the time that is left of it; timeouts are in seconds, infinity for none.
    """

    refs: tuple[OperationRef, ...]
    saved: Mapping[OperationRef, Operation]
    is_group: bool
    check: bool
    timeout: float
    stall_timeout: float


def write_checkpoint(checkpoint: Checkpoint) -> str:
    """Return a checkpoint as text, with a digest by which damage is detected."""
    numbers = {ref: number for number, ref in enumerate(dict.fromkeys(checkpoint.refs))}
    wait = {
        "isGroup": checkpoint.is_group,
        "check": checkpoint.check,
        "timeout": _to_number(checkpoint.timeout),
        "stallTimeout": _to_number(checkpoint.stall_timeout),
        "operations": [_to_entry(ref, checkpoint.saved.get(ref)) for ref in numbers],
        "order": [numbers[ref] for ref in checkpoint.refs],
    }
    body = _canonical(wait)
    return f'{{"format":"{_FORMAT}","version":{_VERSION},"digest":"{_digest(body)}","wait":{body}}}'


def read_checkpoint(text: str) -> Checkpoint:
    """Return the checkpoint in a text of `write_checkpoint`; raise ValueError for foreign, damaged or newer text."""
    if not isinstance(text, str):
        raise TypeError(f"a checkpoint must be text, not {type(text).__name__}")
    try:
        document = read_json(text)
        if document["format"] != _FORMAT:
            raise ValueError("another format")
        version, digest, wait = document["version"], document["digest"], document["wait"]
    except _MALFORMED as error:
        raise ValueError("the text is not a checkpoint of schedules_async") from error
    if version != _VERSION or isinstance(version, bool | float):
        raise ValueError(f"this checkpoint is of version {version!r:.20}; this release reads version {_VERSION}")
    try:
        return _read_wait(wait, digest)
    except _MALFORMED as error:
        raise ValueError("the checkpoint is damaged") from error


def _read_wait(wait: dict[str, Any], digest: str) -> Checkpoint:
    if _digest(_canonical(wait)) != digest:
        raise ValueError("the digest does not match")
    operations = [_read_entry(entry) for entry in wait["operations"]]
    refs = tuple(operations[number][0] for number in wait["order"])
    if not wait["isGroup"] and len(refs) != 1:
        raise ValueError("a wait for one operation must name exactly one")
    return Checkpoint(
        refs=refs,
        saved={ref: operation for ref, operation in operations if operation is not None},
        is_group=bool(wait["isGroup"]),
        check=bool(wait["check"]),
        timeout=_read_number(wait["timeout"]),
        stall_timeout=_read_number(wait["stallTimeout"]),
    )


def _to_entry(ref: OperationRef, saved: Operation | None) -> dict[str, Any]:
    return {"id": ref.operation_id, "scheduleId": ref.schedule_id} if saved is None else saved.to_dict()


def _read_entry(entry: dict[str, Any]) -> tuple[OperationRef, Operation | None]:
    ref = OperationRef(entry["scheduleId"], entry["id"])
    if "status" not in entry:
        return ref, None
    return ref, structure_operation(entry, ref.schedule_id, entry["etag"] and parse_tag([entry["etag"]]))


def _to_number(seconds: float) -> float | None:
    return None if seconds == math.inf else seconds


def _read_number(value: Any) -> float:
    seconds = math.inf if value is None else float(value)
    if not seconds >= 0:
        raise ValueError("seconds must not be negative")
    return seconds


def _canonical(wait: object) -> str:
    return json.dumps(wait, sort_keys=True, separators=(",", ":"))


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()
