"""Events: the line of each, and the counts of a wait's end."""

import copy
import pickle

import pytest

from schedules_async import (
    Operation,
    OperationRef,
    OperationStatus,
    RateLimitedError,
    SessionClosedError,
    TransportError,
)
from schedules_async.events import (
    Changed,
    Event,
    OutageEnded,
    Polled,
    Retried,
    Throttled,
    TokenRenewed,
    WaitBegun,
    WaitEnded,
)

REF = OperationRef("s", "o")
OTHERS = [OperationRef("s", str(number)) for number in range(4)]
STARTED = Operation("o", "s", OperationStatus.STARTED, percent_complete=40.0)
DONE = Operation("0", "s", OperationStatus.SUCCEEDED, percent_complete=100.0)
FAILED = Operation("1", "s", OperationStatus.FAILED, percent_complete=60.0)
STRANGE = Operation("o", "s", OperationStatus.UNKNOWN, "New\nERROR forged", 1.5)
LOST = TransportError("reset\nERROR forged", ref=OTHERS[2])
CLOSED = SessionClosedError("the session was closed")
ONE, MANY = WaitBegun(frozenset([REF])), WaitBegun(frozenset(OTHERS))

LINES: list[tuple[Event, str]] = [
    (ONE, "wait for s/o began"),
    (MANY, "wait for 4 operations began"),
    (WaitEnded(ONE, 12.34, 5, (DONE,)), "wait for s/o ended: Succeeded at 100 % after 12.3 s, polls: 5"),
    (WaitEnded(ONE, 0, 0, ()), "wait for s/o ended: left after 0.0 s, polls: 0"),
    (
        WaitEnded(ONE, 1, 1, (), CLOSED),
        "wait for s/o ended: left by SessionClosedError('the session was closed') after 1.0 s, polls: 1",
    ),
    (
        WaitEnded(MANY, 60, 99, (DONE, FAILED, LOST)),
        "wait for 4 operations ended: 1 succeeded, 1 failed, 1 lost, 1 left after 60.0 s, polls: 99",
    ),
    (WaitEnded(MANY, 1, 4, (DONE,) * 4), "wait for 4 operations ended: 4 succeeded after 1.0 s, polls: 4"),
    (Polled(REF, STARTED, interval=2.5), "poll of s/o: Started at 40 %; next poll in 2.5 s"),
    (Polled(REF, STARTED, is_not_modified=True), "poll of s/o: not modified, Started at 40 %"),
    (Polled(REF, LOST), r"poll of s/o: TransportError('reset\nERROR forged')"),
    (Polled(OperationRef("a\nERROR b", "ö"), STRANGE), r"poll of 'a\nERROR b/\xf6': Unknown at 1.5 %"),
    (Changed(STARTED), "change of s/o: Started at 40 %"),
    (
        Throttled(REF, RateLimitedError("429"), 60, was_open=True),
        "throttled for 60.0 s by RateLimitedError('429') (poll of s/o)",
    ),
    (
        Retried(REF, LOST, 2, 0.25),
        r"retry 2 of s/o in 0.2 s: TransportError('reset\nERROR forged')",
    ),
    (OutageEnded(12.34), "the service answers again after 12.3 s"),
    (TokenRenewed(was_rejected=False), "token renewed"),
    (TokenRenewed(was_rejected=True), "token renewed after a 401"),
]


@pytest.mark.parametrize(("event", "line"), LINES)
def test_event_is_one_line_whatever_the_service_sends(event: Event, line: str) -> None:
    assert str(event) == line
    assert line.isprintable()


def test_end_of_a_wait_counts_outcomes() -> None:
    end = WaitEnded(MANY, 60, 99, (DONE, FAILED, LOST))
    assert (end.succeeded, end.failed, end.lost, end.left) == (1, 1, 1, 1)


def test_beginning_equals_itself_only() -> None:
    assert WaitBegun(ONE.refs) != ONE
    assert {ONE: 1}[WaitEnded(ONE, 0, 0, ()).begun] == 1


@pytest.mark.parametrize("event", [event for event, _ in LINES])
def test_events_can_be_pickled_and_copied(event: Event) -> None:
    for twin in (pickle.loads(pickle.dumps(event)), copy.deepcopy(event)):
        assert str(twin) == str(event)
