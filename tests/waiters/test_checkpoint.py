"""Checkpoints: text out, the same wait back, and ValueError for anything else."""

import hashlib
import json
import math
import re
from datetime import UTC
from typing import Any, cast

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from texts import ENCODABLE

from schedules_async import SchedulesSession
from schedules_async._operations.operation import Operation, OperationStatus
from schedules_async._operations.ref import OperationRef
from schedules_async._waiters.checkpoint import Checkpoint, read_checkpoint, write_checkpoint

REFS = tuple(OperationRef("schedule", f"operation {number}") for number in range(3))
SAVED = Operation.from_json(
    """{"operation": {"id": "operation 0", "status": "Weird", "percentComplete": 12.25, "subStatus": "Ünder way",
    "createdAt": "2026-01-01T00:00:00.1234567+02:00", "updatedAt": null, "etag": "W/\\"x\\""}}""",
    "schedule",
)
GROUP = Checkpoint(
    refs=(*REFS, REFS[0]), saved={REFS[0]: SAVED}, is_group=True, check=False, timeout=12.5, stall_timeout=math.inf
)
ONE = Checkpoint(refs=REFS[:1], saved={}, is_group=False, check=True, timeout=math.inf, stall_timeout=0.25)


@pytest.mark.parametrize("checkpoint", [GROUP, ONE, evolve(GROUP, refs=(), saved={})])
def test_written_checkpoint_is_read_back(checkpoint: Checkpoint) -> None:
    read = read_checkpoint(write_checkpoint(checkpoint))
    assert read == checkpoint
    assert [operation.etag for operation in read.saved.values()] == [one.etag for one in checkpoint.saved.values()]


def test_thousand_operations_take_under_a_megabyte() -> None:
    refs = tuple(
        OperationRef(f"0f8fad5b-d9cb-469f-a165-7086772895{number % 100:02}", f"7c9e6679-7425-40de-944b-{number:012}")
        for number in range(1000)
    )
    saved = {
        ref: evolve(SAVED, schedule_id=ref.schedule_id, id=ref.operation_id, failure_description="x" * 200)
        for ref in refs
    }
    checkpoint = evolve(GROUP, refs=refs, saved=saved)
    text = write_checkpoint(checkpoint)
    assert len(text.encode()) < 1_000_000
    assert read_checkpoint(text) == checkpoint


SESSION = SchedulesSession("token")
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(ENCODABLE, max_size=3), inner, max_size=3),
    max_leaves=5,
)
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
def test_foreign_or_damaged_text_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="checkpoint"):
        read_checkpoint(text)


def test_newer_version_is_named_in_the_error() -> None:
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
        pytest.param("timeout", 10**400, id="timeout-endless"),
        ("operations", [{"id": "..", "scheduleId": "a"}]),
        ("operations", [{"id": "a", "scheduleId": "b", "status": 5, "etag": None}]),
        ("check", ...),
    ],
)
def test_nonsense_with_a_digest_is_an_error(name: str, value: Any) -> None:
    """Somebody who can write a digest cannot make the reading fail in another way."""
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


def test_bytes_raise_type_error() -> None:
    with pytest.raises(TypeError):
        read_checkpoint(cast("str", b"{}"))


NAMES = st.text(ENCODABLE, min_size=1, max_size=8).filter(lambda name: name.strip("."))
TEXTS = st.none() | st.text(ENCODABLE, max_size=8)
TIMES = st.none() | st.datetimes(timezones=st.just(UTC))
SECONDS = st.floats(min_value=0, allow_nan=False)
SNAPSHOTS = st.builds(
    Operation,
    id=NAMES,
    schedule_id=NAMES,
    status=st.sampled_from(OperationStatus),
    percent_complete=st.floats(allow_nan=False, allow_infinity=False),
    sub_status=TEXTS,
    failure_description=TEXTS,
    created_at=TIMES,
    updated_at=TIMES,
    etag=st.none() | st.from_regex(re.compile(r'(W/)?"[!#-~]{0,9}"'), fullmatch=True, alphabet=ENCODABLE),
)


@st.composite
def checkpoints(draw: st.DrawFn) -> Checkpoint:
    saved = {operation.ref: operation for operation in draw(st.lists(SNAPSHOTS, max_size=3))}
    refs = [*saved, *draw(st.lists(st.builds(OperationRef, NAMES, NAMES), min_size=0 if saved else 1, max_size=3))]
    return Checkpoint(
        refs=tuple(draw(st.permutations([*refs, refs[0]]))) if len(refs) > 1 else tuple(refs),
        saved=saved,
        is_group=len(refs) > 1 or draw(st.booleans()),
        check=draw(st.booleans()),
        timeout=draw(SECONDS),
        stall_timeout=draw(SECONDS),
    )


@given(checkpoint=checkpoints())
def test_any_checkpoint_is_read_back(checkpoint: Checkpoint) -> None:
    text = write_checkpoint(checkpoint)
    read = read_checkpoint(text)
    assert read == checkpoint
    assert write_checkpoint(read) == text
    assert text.isascii()


def rewrite(text: str) -> str:
    """Return the checkpoint of the wait that a checkpoint resumes; the wait is not used."""
    waiter = SESSION.resume(text)
    waiter.close()
    return waiter.checkpoint()


PIECES = st.text(st.characters(codec=None), max_size=3) | st.text('{}[]",:\\0123456789eE+-. \ntrufalsn', max_size=6)


@given(
    checkpoint=checkpoints(),
    changes=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 3), PIECES), min_size=1, max_size=3),
)
def test_text_changed_at_random_is_rejected_or_equal(
    checkpoint: Checkpoint, changes: list[tuple[int, int, str]]
) -> None:
    written = text = write_checkpoint(checkpoint)
    for place, removed, added in changes:
        start = place % (len(text) + 1)
        text = text[:start] + added + text[start + removed :]
    try:
        rewritten = rewrite(text)
    except ValueError:
        assert text != written
    else:
        assert rewritten == written


@given(checkpoint=checkpoints(), choice=st.integers(0, 1000), value=ANY_JSON)
def test_signed_value_changed_at_random_never_breaks(checkpoint: Checkpoint, choice: int, value: Any) -> None:
    wait = json.loads(write_checkpoint(checkpoint))["wait"]
    places = [(part, key) for part in (wait, *wait["operations"]) for key in part]
    part, key = places[choice % len(places)]
    part[key] = value
    try:
        rewritten = rewrite(signed(wait))
    except ValueError:
        return
    assert rewrite(rewritten) == rewritten
