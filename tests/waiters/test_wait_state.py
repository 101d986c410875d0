"""Waits for many: partial results, fresh changes, deadlines, and what a checkpoint takes along."""

import asyncio
import copy
import json
import math
import pickle
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
from event_loops import turns
from sessions import EVERY_SECOND, MakeSession

from schedules_async import (
    MalformedResponseError,
    NotFoundError,
    Operation,
    OperationFailedError,
    OperationGroupError,
    OperationGroupWaiter,
    OperationRef,
    OperationStalledError,
    OperationStatus,
    OperationTimeoutError,
    OperationWaiter,
    PollingPolicy,
    RetryPolicy,
    SchedulesError,
    SchedulesSession,
    ServerError,
    SessionClosedError,
    WaitError,
)
from schedules_async._waiters.wait_state import WaitState
from schedules_async.testing import Answer, FakeClock, FakeSchedules, fault, not_modified, operation_answer, throttled

DONE = operation_answer("Succeeded")
GRACIOUS = PollingPolicy(min_interval=1, max_interval=1, not_found_grace=60)
FAILED = operation_answer("Failed", percent_complete=30, failure_description="The disk is full.")


def started(percent: float, etag: str | None = None) -> Answer:
    return operation_answer("Started", percent_complete=percent, etag=etag)


async def read_all(changes: AsyncIterator[Operation], into: list[Operation]) -> None:
    """Keep what came before an error, too."""
    while True:
        try:
            into.append(await anext(changes))
        except StopAsyncIteration:
            return


def shown(operations: Iterable[Operation], refs: list[OperationRef]) -> list[tuple[int, float]]:
    return [(refs.index(operation.ref), operation.percent_complete) for operation in operations]


async def test_group_returns_final_snapshots_in_order(session: SchedulesSession, server: FakeSchedules) -> None:
    refs = [server.start_operation(duration=duration) for duration in (3, 1, 2)]
    operations = await session.wait_for_operations(refs)
    assert [operation.ref for operation in operations] == refs
    assert all(operation.is_succeeded for operation in operations)


async def test_group_fetches_equal_references_once(session: SchedulesSession, server: FakeSchedules) -> None:
    ref, other = server.script_operation(DONE), server.script_operation(DONE)
    url = f"https://api.bentley.com{ref.path}"
    asked: list[OperationRef | tuple[str, str] | str] = [ref, (ref.schedule_id, ref.operation_id), other, url]
    operations = await session.wait_for_operations(iter(asked))
    assert [operation.ref for operation in operations] == [ref, ref, other, ref]
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("refs", "kind"),
    [
        ("https://host/schedules/a/operations/b", TypeError),
        (OperationRef("a", "b"), TypeError),
        ([5], TypeError),
        ([("a", "b", "c")], TypeError),
        ([("a", "..")], ValueError),
        (["a"], ValueError),
        (["a/b/c"], ValueError),
    ],
)
async def test_unusable_references_are_an_error(
    session: SchedulesSession, refs: list[OperationRef], kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        await session.wait_for_operations(refs)


async def test_empty_group_is_over_at_once(session: SchedulesSession) -> None:
    waiter = session.wait_for_operations([])
    assert await waiter == []
    assert [change async for change in waiter] == []
    assert (waiter.percent_complete, waiter.time_remaining, waiter.latest) == (100.0, None, {})


async def test_group_iteration_yields_changes_and_each_end_once(
    session: SchedulesSession, server: FakeSchedules
) -> None:
    refs = [
        server.script_operation(started(10), started(20), DONE),
        server.script_operation(started(10), started(10), started(30), DONE),
        server.script_operation(FAILED),
    ]
    waiter = session.wait_for_operations(refs)
    yielded: list[Operation] = []
    with pytest.raises(OperationGroupError) as caught:
        await read_all(aiter(waiter), yielded)
    ends = Counter(operation.ref for operation in yielded if operation.is_done)
    assert ends == Counter(refs)
    assert sorted(shown(yielded, refs)) == [(0, 10), (0, 20), (0, 100), (1, 10), (1, 30), (1, 100), (2, 30)]
    (lost,) = caught.value.exceptions
    assert isinstance(lost, OperationFailedError)
    assert (lost.ref, str(lost)) == (refs[2], f"{refs[2]} failed: The disk is full.")
    assert await session.wait_for_operations(refs[:2]) != []


async def test_slow_group_iteration_gets_the_newest_of_each(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    late = operation_answer("Started", percent_complete=50, delay=0.25)
    answers = [*map(started, range(10, 19))], [late, *map(started, range(51, 59))]
    refs = [server.script_operation(*each) for each in answers]
    changes = aiter(session.wait_for_operations(refs))
    first = await anext(changes)
    await clock.sleep(5.5)
    rest = [await anext(changes), await anext(changes)]
    assert shown([first, *rest], refs) == [(0, 10), (1, 55), (0, 15)]


async def test_iterations_of_a_group_are_independent(session: SchedulesSession, server: FakeSchedules) -> None:
    refs = [server.script_operation(started(10), DONE), server.script_operation(started(20), Answer(404))]
    waiter = session.wait_for_operations(refs, check=False)
    first = aiter(waiter)
    await anext(first)
    await anext(first)
    second = aiter(waiter)
    assert shown([await anext(second), await anext(second)], refs) == [(0, 10), (1, 20)]
    assert shown([change async for change in first], refs) == [(0, 100)]
    assert shown([change async for change in second], refs) == [(0, 100)]
    assert shown([change async for change in waiter], refs) == [(0, 100)]
    assert len(server.requests) == 4


async def test_group_without_check_returns_its_errors(session: SchedulesSession, server: FakeSchedules) -> None:
    refs = [server.script_operation(answer) for answer in (DONE, FAILED, Answer(404), started(math.nan))]
    results = await session.wait_for_operations([*refs, refs[2]], check=False)
    assert [type(result) for result in results] == [
        Operation,
        Operation,
        NotFoundError,
        MalformedResponseError,
        NotFoundError,
    ]
    assert [getattr(result, "ref", None) for result in results] == [*refs, refs[2]]
    assert results[2] is not results[4]


async def test_timeout_loses_unfinished_operations_but_no_snapshot(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    refs = [server.start_operation(duration=duration) for duration in (2.5, 100, 200)]
    waiter = session.wait_for_operations(refs, timeout=5.5)
    with pytest.raises(OperationGroupError) as caught:
        await waiter
    assert clock.monotonic() == 5.5
    lost = [error for error in caught.value.exceptions if isinstance(error, OperationTimeoutError)]
    assert [(error.ref, error.operation) for error in lost] == [(ref, waiter.latest[ref]) for ref in refs[1:]]
    assert caught.value.operations == waiter.latest
    assert set(waiter.latest) == set(refs)
    assert waiter.latest[refs[0]].is_succeeded
    assert waiter.percent_complete == 100
    await clock.sleep(50)
    assert len(server.requests) == 4 + 6 + 6


def errors_of(group: OperationGroupError) -> list[SchedulesError]:
    return [error for error in group.exceptions if isinstance(error, SchedulesError)]


async def test_stall_loses_the_unchanged_operation_alone(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    refs = [server.start_operation(duration=30), server.start_operation(duration=300, progress="none")]
    with pytest.raises(OperationGroupError) as caught:
        await session.wait_for_operations(refs, stall_timeout=10)
    (lost,) = caught.value.exceptions
    assert isinstance(lost, OperationStalledError)
    assert lost.ref == refs[1]
    assert clock.monotonic() >= 30


async def test_ended_operation_leaves_no_stall_timer(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    """No timer is left of it, neither after the wait nor while others of the group go on."""
    refs = [server.start_operation(duration=3), OperationRef("schedule", "no operation")]
    await session.wait_for_operations(refs, stall_timeout=1000, check=False)
    await turns(5)
    assert clock.sleeping == 0


async def test_time_without_a_consumer_is_no_stall(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    waiter = session.wait_for_operation(*server.start_operation(duration=300), stall_timeout=30)
    async for _ in waiter:
        break
    await clock.sleep(100)
    assert await anext(aiter(waiter)) == waiter.latest
    assert waiter.latest is not None
    assert waiter.latest.percent_complete > 30


async def test_short_awaits_add_up_to_a_stall(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    waiter = session.wait_for_operation(*server.script_operation(started(10)), stall_timeout=5)
    for _ in range(2):
        task = asyncio.create_task(waiter)
        await clock.sleep(2)
        task.cancel()
        await clock.sleep(60)
    began = clock.monotonic()
    with pytest.raises(OperationStalledError):
        await waiter
    assert clock.monotonic() - began == 1


async def test_cancelled_group_leaves_other_waits_alone(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    refs = [server.start_operation(duration=10) for _ in range(5)]
    group = asyncio.create_task(session.wait_for_operations(refs))
    single = asyncio.create_task(session.wait_for_operation(*refs[0]))
    await clock.sleep(2.5)
    group.cancel()
    await asyncio.wait({group})
    before = len(server.requests)
    assert (await single).is_succeeded
    assert {request.ref for request in server.requests[before:]} == {refs[0]}


async def test_break_out_of_a_group_stops_polling(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    refs = [server.start_operation(duration=100) for _ in range(4)]
    async for _ in session.wait_for_operations(refs):
        break
    await turns(3)
    count = len(server.requests)
    await clock.sleep(50)
    assert len(server.requests) <= max(count, len(refs))


async def test_closed_session_ends_a_group_with_one_error(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    waiter = session.wait_for_operations([server.start_operation(duration=100) for _ in range(4)], check=False)
    task, changes = asyncio.create_task(waiter), aiter(waiter)
    await anext(changes)
    await clock.sleep(3)
    await session.close()
    for use in (task, waiter):
        with pytest.raises(SessionClosedError) as caught:
            await use
        assert caught.value.ref is None
    with pytest.raises(SessionClosedError):
        [change async for change in changes]


async def test_closed_group_waiter_ends_every_use(session: SchedulesSession, server: FakeSchedules) -> None:
    waiter = session.wait_for_operations([server.start_operation(duration=100) for _ in range(4)])
    task, changes = asyncio.create_task(waiter), aiter(waiter)
    await anext(changes)
    await waiter.aclose()
    assert [change async for change in changes if change.is_done] == []
    with pytest.raises(WaitError, match="the wait for 4 operations was closed") as caught:
        await task
    assert caught.value.ref is None
    assert "0 of 4 operations ended" in repr(waiter)


async def test_progress_and_time_remaining_of_a_group(
    make_session: MakeSession, server: FakeSchedules, clock: FakeClock
) -> None:
    session = make_session(polling=PollingPolicy())
    refs = [server.start_operation(duration=100), server.start_operation(duration=200)]
    waiter = session.wait_for_operations([*refs, refs[0]])
    assert (waiter.percent_complete, waiter.time_remaining, waiter.refs) == (0.0, None, [*refs, refs[0]])
    task = asyncio.create_task(waiter)
    await clock.sleep(60)
    remaining = waiter.time_remaining
    assert remaining is not None
    assert remaining.low <= 140 <= remaining.high
    assert 30 <= waiter.percent_complete <= (60 + 30) / 2
    await task
    assert (waiter.percent_complete, waiter.time_remaining) == (100.0, None)


async def test_time_remaining_of_group_needs_all_progress(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    refs = [server.start_operation(duration=100), server.start_operation(duration=100, progress="none")]
    waiter = session.wait_for_operations(refs)
    task = asyncio.create_task(waiter)
    await clock.sleep(50)
    assert waiter.time_remaining is None
    task.cancel()
    await asyncio.wait({task})


async def test_group_of_hundred_loses_those_that_failed(
    make_session: MakeSession, server: FakeSchedules, clock: FakeClock
) -> None:
    """20 fail, 5 are 404, 5 meet 500 for ever, and 10 of the rest are also awaited elsewhere and cancelled there."""
    session = make_session(retry=RetryPolicy(attempts=3))
    failing = [server.start_operation(duration=3 + number % 5, fails_with="No.") for number in range(20)]
    missing = [OperationRef("schedule", f"no operation {number}") for number in range(5)]
    broken = [server.script_operation(started(5), fault(500)) for _ in range(5)]
    good = [server.start_operation(duration=2 + number % 9) for number in range(70)]
    refs = [ref for column in zip(failing, good[:20], strict=True) for ref in column] + missing + broken + good[20:]
    group = asyncio.create_task(session.wait_for_operations(refs))
    elsewhere = [asyncio.create_task(session.wait_for_operation(*ref)) for ref in good[-10:]]
    await clock.sleep(1.5)
    for task in elsewhere:
        task.cancel()
    with pytest.raises(OperationGroupError) as caught:
        await group
    by_kind = {kind: {e.ref for e in errors_of(caught.value) if type(e) is kind} for kind in KINDS}
    assert by_kind == dict(zip(KINDS, (set(failing), set(missing), set(broken)), strict=True))
    assert sum(operation.is_succeeded for operation in caught.value.operations.values()) == 70
    assert all(str(ref) in str(caught.value) for ref in list(refs[0:10:2]))
    assert "and 25 more" in str(caught.value)


KINDS = (OperationFailedError, NotFoundError, ServerError)


def test_group_error_keeps_facts_in_copies_and_parts() -> None:
    ref = OperationRef("s", "o")
    operation = Operation("o", "s", OperationStatus.SUCCEEDED)
    group = OperationGroupError("1 of 2", [NotFoundError("404", ref=ref)], operations={ref: operation})
    for twin in (copy.copy(group), pickle.loads(pickle.dumps(group)), group.subgroup(NotFoundError)):
        assert isinstance(twin, OperationGroupError)
        assert (twin.operations, twin.ref, twin.message, len(twin.exceptions)) == ({ref: operation}, None, "1 of 2", 1)
        assert isinstance(twin.exceptions[0], NotFoundError)
        assert twin.exceptions[0].ref == ref


async def test_exception_of_callers_code_loses_an_operation(make_session: MakeSession, server: FakeSchedules) -> None:
    async def bad_token() -> str:
        return "not usable"

    refs = [server.script_operation(DONE) for _ in range(2)]
    with pytest.raises(OperationGroupError) as caught:
        await make_session(auth=bad_token).wait_for_operations(refs)
    assert [type(error) for error in caught.value.exceptions] == [ValueError, ValueError]


async def test_resumed_group_sends_saved_tags(
    make_session: MakeSession, server: FakeSchedules, clock: FakeClock
) -> None:
    refs = [server.start_operation(duration=duration) for duration in (2, 50, 60)]
    first = make_session()
    waiter = first.wait_for_operations([*refs, refs[1]], timeout=100, stall_timeout=40)
    task = asyncio.create_task(waiter)
    await clock.sleep(10.5)
    text = waiter.checkpoint()
    await first.close()
    await asyncio.wait({task})
    assert isinstance(task.exception(), SessionClosedError)
    before = len(server.requests)

    resumed = make_session().resume(text)
    assert isinstance(resumed, OperationGroupWaiter)
    assert resumed.latest == waiter.latest
    assert json.loads(text)["wait"]["timeout"] == 89.5
    operations = await resumed
    assert [operation.ref for operation in operations] == [*refs, refs[1]]
    later = server.requests[before:]
    assert {request.ref for request in later} == set(refs[1:])
    assert all(request.if_none_match for request in later)
    assert [request.status for request in later[:2]] == [200, 200]


async def test_resumed_wait_sends_the_saved_tag(
    make_session: MakeSession, server: FakeSchedules, clock: FakeClock
) -> None:
    ref = server.script_operation(started(10, '"E1"'), not_modified('"E1"'), FAILED)
    waiter = make_session().wait_for_operation(*ref, check=False, timeout=50)
    changes = aiter(waiter)
    await anext(changes)
    text = waiter.checkpoint()
    await changes.aclose()
    session = make_session()
    resumed = session.resume(text, polling=PollingPolicy.fixed(7))
    assert isinstance(resumed, OperationWaiter)
    assert resumed.latest == waiter.latest
    assert [operation.percent_complete async for operation in resumed] == [10, 30]
    assert [request.if_none_match for request in server.requests] == [None, '"E1"', '"E1"']
    assert clock.monotonic() == 7
    assert session.stats.updates == 2  # the first snapshot counts


async def test_checkpoint_holds_the_rest_of_the_timeout(
    make_session: MakeSession, server: FakeSchedules, clock: FakeClock
) -> None:
    waiter = make_session().wait_for_operation(*server.script_operation(started(10)), timeout=20)
    unused = waiter.checkpoint()
    task = asyncio.create_task(waiter)
    await clock.sleep(15)
    text = waiter.checkpoint()
    task.cancel()
    with pytest.raises(OperationTimeoutError):
        await make_session().resume(text)
    assert clock.monotonic() == 20
    with pytest.raises(OperationTimeoutError):
        await make_session().resume(unused)
    assert clock.monotonic() == 40


async def test_resumed_wait_that_ended_sends_no_request(make_session: MakeSession, server: FakeSchedules) -> None:
    waiter = make_session().wait_for_operation(*server.script_operation(FAILED))
    with pytest.raises(OperationFailedError):
        await waiter
    with pytest.raises(OperationFailedError, match="The disk is full"):
        await make_session().resume(waiter.checkpoint())
    assert len(server.requests) == 1


class Disk(dict[OperationRef, Operation]):
    """Snapshots of the caller's own, which fail at first."""

    is_full = True

    def setdefault(self, ref: OperationRef, operation: Operation | None = None) -> Any:
        if self.is_full:
            raise OSError("no space left")
        return super().setdefault(ref, *filter(None, [operation]))


async def test_wait_that_could_not_begin_can_be_reused(make_session: MakeSession, server: FakeSchedules) -> None:
    refs = [server.script_operation(started(10), DONE) for _ in range(2)]
    waiter, disk = make_session().wait_for_operations(refs), Disk()
    changes = aiter(waiter)
    await anext(changes)
    await anext(changes)
    resumed = make_session(snapshots=disk).resume(waiter.checkpoint())
    await changes.aclose()
    with pytest.raises(OSError, match="no space left"):
        await resumed
    disk.is_full = False
    assert len([change async for change in resumed if change.is_done]) == 2


async def test_policy_of_one_wait_never_slows_another(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    """The earliest due poll counts; once the eager wait has left, the other's intervals count again."""
    ref = server.script_operation(started(10))
    slow = asyncio.create_task(session.wait_for_operation(*ref, polling=PollingPolicy.fixed(10)))
    fast = [asyncio.create_task(session.wait_for_operation(*ref, polling=EVERY_SECOND)) for _ in range(2)]
    await clock.sleep(5.5)
    assert len(server.requests) == 6
    for task in fast:
        task.cancel()
        await asyncio.wait({task})
    await clock.sleep(10)
    assert [request.time for request in server.requests] == [0, 1, 2, 3, 4, 5, 15]
    slow.cancel()
    await asyncio.wait({slow})


@pytest.mark.parametrize("answer", [throttled(40), fault(503, delay=40), Answer(404)], ids=["429", "503", "404"])
async def test_saved_snapshot_is_shown_once_confirmed(
    make_session: MakeSession, server: FakeSchedules, answer: Answer
) -> None:
    """Neither an iteration of the resumed wait nor another wait of the session gets it before an answer of now."""
    ref = server.script_operation(started(10, '"E1"'), answer, started(20), DONE)
    first = make_session().wait_for_operation(*ref)
    async for _ in first:
        break
    session = make_session()
    resumed = session.resume(first.checkpoint(), polling=GRACIOUS)
    assert resumed.latest == first.latest
    yielded: list[Operation] = []
    joined = session.wait_for_operation(*ref, polling=GRACIOUS)
    await asyncio.gather(read_all(aiter(resumed), yielded), read_all(aiter(joined), yielded))
    assert [operation.percent_complete for operation in yielded] == [20, 20, 100, 100]
    assert server.requests[1].if_none_match == '"E1"'


async def test_saved_snapshot_is_confirmed_by_a_304(
    make_session: MakeSession, server: FakeSchedules, clock: FakeClock
) -> None:
    """By a 304: then it is the session's own, also for those that join later."""
    ref = server.script_operation(started(10, '"E1"'), not_modified(delay=5), not_modified(), DONE)
    first = make_session().wait_for_operation(*ref)
    async for _ in first:
        break
    session = make_session()
    changes = aiter(session.resume(first.checkpoint()))
    assert (await anext(changes)).percent_complete == 10
    assert clock.monotonic() == 5
    assert (await anext(aiter(session.wait_for_operation(*ref)))).percent_complete == 10
    assert (await anext(changes)).is_succeeded
    assert [request.if_none_match for request in server.requests] == [None, '"E1"', '"E1"', '"E1"']


async def test_held_snapshot_is_shown_once_confirmed(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    """Out of an earlier fetch it may be hours old."""
    ref = server.script_operation(started(10), throttled(60), started(50), DONE)
    await session.get_operation(*ref)
    yielded = [(clock.monotonic(), operation.percent_complete) async for operation in session.wait_for_operation(*ref)]
    assert yielded == [(60, 50), (61, 100)]


async def test_snapshot_of_earlier_wait_is_confirmed_first(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    ref = server.script_operation(started(10), started(10), throttled(60), started(50), DONE)
    for _ in range(2):
        async for _ in session.wait_for_operation(*ref):
            break
        await clock.sleep(600)
    yielded = [operation.percent_complete async for operation in session.wait_for_operation(*ref)]
    assert yielded == [50, 100]


async def test_second_outcome_of_an_operation_is_ignored(session: SchedulesSession) -> None:
    """Whatever of the engine ends it twice: the count of unfinished operations stays right."""
    one, other = (Operation(number, "schedule", OperationStatus.SUCCEEDED) for number in "12")
    state = WaitState((one.ref, other.ref), session._make_options(None, None, None, check=True), session._enter, {})
    member = state.members[one.ref]
    member.on_end(one)
    member.on_end(NotFoundError("404"))
    assert (member.outcome, state.unfinished) == (one, 1)
