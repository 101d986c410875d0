"""What is carried from attempt to attempt: its text, and that a policy decides by it as by all polls."""

import json
import random
from datetime import UTC, datetime
from statistics import fmean

import pytest
from simulation import SHAPES, Run, workload

from schedules_async import Operation, OperationStatus, PollingPolicy
from schedules_async._polling.forecast import Progress
from schedules_async.temporal.memory import Memory, PastPoll, to_date

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()
POLICY = PollingPolicy()
SEEN = Operation(
    "o",
    "s",
    OperationStatus.STARTED,
    percent_complete=40.5,
    created_at=to_date(NOON - 90),
    updated_at=to_date(NOON - 60),
)


def look_at(run: Run, t: float) -> Operation:
    """Give what the service shows of a run that was requested at noon."""
    status, fraction, started = run.see(t)
    since = NOON if status == "Queued" else NOON + started
    return Operation(
        "o",
        "s",
        OperationStatus(status),
        percent_complete=round(100 * fraction, 2),
        created_at=to_date(NOON),
        updated_at=to_date(since),
    )


def looks_in_one_process(run: Run, sample: random.Random) -> int:
    progress, t, polls = Progress(), 0.0, 1
    while t < run.total:
        progress.observe(look_at(run, t), NOON + t, to_date(NOON + t))
        t += POLICY.interval(progress, 0.5, sample.random())
        polls += 1
    return polls


def looks_with_a_new_process_each(run: Run, sample: random.Random) -> int:
    text, t, polls = "", 0.0, 1
    while t < run.total:
        memory = Memory.from_json(text).with_poll(NOON + t, look_at(run, t))
        t += POLICY.interval(memory.progress(), 0.5, sample.random())
        text = memory.to_json()
        polls += 1
    return polls


@pytest.mark.parametrize("shape", SHAPES)
def test_a_policy_that_remembers_by_text_looks_as_often_as_one_that_was_there(shape: str) -> None:
    """Twelve polls tell what hundreds do, within 10 percent over a workload."""
    runs = list(workload(SHAPES[shape], 10, random.Random(7)))
    here = fmean(looks_in_one_process(run, random.Random(1)) for run in runs)
    there = fmean(looks_with_a_new_process_each(run, random.Random(1)) for run in runs)
    assert there == pytest.approx(here, rel=0.1)


def test_the_text_is_the_operations_own_with_the_looks_beside_it() -> None:
    memory = Memory().with_poll(NOON, SEEN)
    assert json.loads(memory.to_json())["polls"] == [[NOON, "Started", 40.5, NOON - 60]]
    assert Operation.from_json(memory.to_json()) == SEEN
    assert Memory.from_json(memory.to_json()) == memory
    assert Memory.from_json(SEEN.to_json()) == Memory(SEEN)
    assert Memory().to_json() == ""


def test_the_tag_goes_along() -> None:
    tagged = Operation("o", "s", OperationStatus.QUEUED, etag='W/"a"')
    remembered = Memory.from_json(Memory(tagged).to_json()).operation
    assert remembered is not None
    assert remembered.etag == 'W/"a"'


def test_a_service_that_does_not_tell_when_is_remembered_too() -> None:
    memory = Memory().with_poll(NOON, Operation("o", "s", OperationStatus.STARTED, percent_complete=30.0))
    assert Memory.from_json(memory.to_json()).polls == (PastPoll(NOON, OperationStatus.STARTED, 30.0, None),)
    assert memory.progress().remaining is None


def test_it_stays_small_and_keeps_the_first_look_every_change_and_the_newest() -> None:
    memory = Memory()
    percents = [0.0, 25.0, *[50.0] * 400, 75.0]
    for number, percent in enumerate(percents):
        operation = Operation("o", "s", OperationStatus.STARTED, percent_complete=percent)
        memory = memory.with_poll(NOON + 10 * number, operation)
    assert len(memory.polls) == 12
    assert [look.percent_complete for look in memory.polls][:3] == [0.0, 25.0, 50.0]
    assert [look.time for look in memory.polls][:2] == [NOON, NOON + 10]
    assert memory.polls[-1].percent_complete == 75.0
    assert len(memory.to_json()) < 1500


def test_of_many_changes_the_first_and_the_newest_stay() -> None:
    memory = Memory()
    for number in range(50):
        operation = Operation("o", "s", OperationStatus.STARTED, percent_complete=number)
        memory = memory.with_poll(NOON + number, operation)
    assert [look.percent_complete for look in memory.polls] == [0.0, *map(float, range(39, 50))]


@pytest.mark.parametrize(
    "text",
    [
        None,
        7,
        "",
        "nonsense",
        "[]",
        '{"operation": {}}',
        SEEN.to_json()[:-1] + ', "polls": 7}',
        SEEN.to_json()[:-1] + ', "polls": [[1, "Started", 5]]}',
        SEEN.to_json()[:-1] + ', "polls": [[1, "Dancing", 5, null]]}',
        SEEN.to_json()[:-1] + ', "polls": [["x", "Started", 5, null]]}',
        SEEN.to_json()[:-1] + ', "polls": [[null, "Started", 5, null]]}',
    ],
)
def test_what_cannot_be_read_is_nothing(text: object) -> None:
    assert Memory.from_json(text) == Memory()


@pytest.mark.parametrize("time", ["1e300", "NaN", "-1e300"])
def test_a_time_that_is_none_is_nothing(time: str) -> None:
    assert Memory.from_json(SEEN.to_json()[:-1] + f', "polls": [[{time}, "Started", 5, null]]}}') == Memory()
