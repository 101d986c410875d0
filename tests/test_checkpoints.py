"""Checkpoints: text out, the same wait back, and ValueError for anything else."""

import hashlib
import json
import math
from typing import Any, cast

import pytest
from attrs import evolve

from schedules_async.checkpoints import Checkpoint, read_checkpoint, write_checkpoint
from schedules_async.models import Operation
from schedules_async.refs import OperationRef

REFS = tuple(OperationRef("schedule", f"operation {number}") for number in range(3))
SEEN = Operation.from_json(
    """{"operation": {"id": "operation 0", "status": "Weird", "percentComplete": 12.25, "subStatus": "Ünder way",
    "createdAt": "2026-01-01T00:00:00.1234567+02:00", "updatedAt": null, "etag": "W/\\"x\\""}}""",
    "schedule",
)
GROUP = Checkpoint(
    refs=(*REFS, REFS[0]), seen={REFS[0]: SEEN}, is_group=True, check=False, timeout=12.5, stall_timeout=math.inf
)
ONE = Checkpoint(refs=REFS[:1], seen={}, is_group=False, check=True, timeout=math.inf, stall_timeout=0.25)


@pytest.mark.parametrize("checkpoint", [GROUP, ONE, evolve(GROUP, refs=(), seen={})])
def test_what_was_written_is_read(checkpoint: Checkpoint) -> None:
    read = read_checkpoint(write_checkpoint(checkpoint))
    assert read == checkpoint
    assert [operation.etag for operation in read.seen.values()] == [one.etag for one in checkpoint.seen.values()]


def test_a_thousand_operations_are_less_than_a_megabyte() -> None:
    refs = tuple(
        OperationRef(f"0f8fad5b-d9cb-469f-a165-7086772895{number % 100:02}", f"7c9e6679-7425-40de-944b-{number:012}")
        for number in range(1000)
    )
    seen = {
        ref: evolve(SEEN, schedule_id=ref.schedule_id, id=ref.operation_id, failure_description="x" * 200)
        for ref in refs
    }
    checkpoint = evolve(GROUP, refs=refs, seen=seen)
    text = write_checkpoint(checkpoint)
    assert len(text.encode()) < 1_000_000
    assert read_checkpoint(text) == checkpoint


WAITS: list[object] = [None, [], {}, {"order": [0]}]


def changed(**values: Any) -> str:
    return json.dumps({**json.loads(write_checkpoint(GROUP)), **values})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "5",
        '{"operation": {}}',
        "{",
        "[" * 100_000,
        changed(format="another"),
        changed(digest="0" * 64),
    ]
    + [changed(version=version) for version in (2, "1", None, True, 1.0)]
    + [changed(wait=wait) for wait in WAITS],
)
def test_anything_else_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="checkpoint"):
        read_checkpoint(text)


def test_a_newer_version_is_named() -> None:
    with pytest.raises(ValueError, match="of version 2; this release reads version 1"):
        read_checkpoint(changed(version=2))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("order", [5]),
        ("order", [0, 1]),
        ("order", []),
        ("timeout", -1),
        ("timeout", "x"),
        ("operations", [{"id": "..", "scheduleId": "a"}]),
        ("operations", [{"id": "a", "scheduleId": "b", "status": 5, "etag": None}]),
        ("check", ...),
    ],
)
def test_a_digest_does_not_make_nonsense_right(name: str, value: Any) -> None:
    """Somebody who can write a digest cannot make the reader fail in another way."""
    wait = json.loads(write_checkpoint(ONE))["wait"]
    if value is ...:
        del wait[name]
    else:
        wait[name] = value
    with pytest.raises(ValueError, match="damaged"):
        read_checkpoint(signed(wait))


def signed(wait: Any) -> str:
    body = json.dumps(wait, sort_keys=True, separators=(",", ":"))
    document = json.loads(write_checkpoint(ONE))
    return json.dumps({**document, "wait": wait, "digest": hashlib.sha256(body.encode()).hexdigest()})


def test_bytes_are_no_text() -> None:
    with pytest.raises(TypeError):
        read_checkpoint(cast("str", b"{}"))
