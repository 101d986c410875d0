import asyncio

import pytest
from event_loops import turns

from schedules_async import OperationFailedError, OperationGroupError, OperationRef, SchedulesSession
from schedules_async.progress.tracking import Tracker
from schedules_async.testing import FakeSchedules, operation_answer

SUCCEEDED = operation_answer("Succeeded")


class Recorder(Tracker):
    """Draws into a list of frames; `opened` and `closed` count how often it had the screen."""

    opened = closed = 0
    fails = False

    def _open(self) -> None:
        self.opened += 1
        self.frames: list[list[str]] = []

    def _draw(self) -> None:
        self.frames.append([f"{track.name} {track.fraction:g}" for track in self._board.tracks])
        if self.fails:
            raise OSError(28, "No space left on device")

    def _close(self) -> None:
        self.closed += 1


async def test_tracking_gives_what_awaiting_gives(server: FakeSchedules, session: SchedulesSession) -> None:
    refs = [server.script_operation(SUCCEEDED, operation_id=name) for name in "ab"]
    recorder = Recorder()
    operation = await recorder.track(session.wait_for_operation(*refs[0]))
    assert operation.is_succeeded
    assert recorder.frames[-1] == ["a 1"]
    operations = await recorder.track(session.wait_for_operations(refs))
    assert [operation.ref for operation in operations] == refs
    assert recorder.frames[-1] == ["a 1", "b 1"]
    assert (recorder.opened, recorder.closed) == (2, 2)


async def test_tracking_raises_what_awaiting_raises(server: FakeSchedules, session: SchedulesSession) -> None:
    failing = server.script_operation(operation_answer("Failed", percent_complete=30), operation_id="a")
    recorder = Recorder()
    with pytest.raises(OperationFailedError):
        await recorder.track(session.wait_for_operation(*failing))
    with pytest.raises(OperationGroupError):
        await recorder.track(session.wait_for_operations([failing, OperationRef(failing.schedule_id, "b")]))
    assert recorder.frames[-1] == ["a 0.3", "b 0"]
    assert recorder.closed == 2


async def test_waits_that_are_tracked_at_once_share_one_screen(
    server: FakeSchedules, session: SchedulesSession
) -> None:
    refs = [server.start_operation(seconds, operation_id=f"{seconds} s") for seconds in (5, 60)]
    recorder = Recorder()
    await asyncio.gather(*(recorder.track(session.wait_for_operation(*ref)) for ref in refs))
    assert (recorder.opened, recorder.closed) == (1, 1)
    assert recorder.frames[-1] == ["5 s 1", "60 s 1"]


async def test_cancelling_leaves_the_screen_and_no_task(server: FakeSchedules, session: SchedulesSession) -> None:
    ref = server.start_operation(1e6)
    recorder = Recorder()
    before = asyncio.all_tasks()
    tracking = asyncio.create_task(recorder.track(session.wait_for_operation(*ref)))
    await turns(3)
    tracking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await tracking
    await asyncio.sleep(0)
    assert recorder.closed == 1
    assert not [task for task in asyncio.all_tasks() - before if "draw" in repr(task)]


async def test_a_frame_that_cannot_be_drawn_costs_no_wait_its_end(
    server: FakeSchedules, session: SchedulesSession
) -> None:
    """It is raised once the wait is over, whose outcome is remembered."""
    recorder = Recorder()
    recorder.fails = True
    waiter = session.wait_for_operation(*server.start_operation(30))
    with pytest.raises(OSError, match="No space left"):
        await recorder.track(waiter)
    assert recorder.closed == 1
    assert (await waiter).is_succeeded


async def test_what_drawing_died_of_is_told_even_if_the_last_frame_is_drawn(
    server: FakeSchedules, session: SchedulesSession
) -> None:
    recorder = Recorder()
    recorder.fails = True

    async def recover() -> None:
        with recorder.showing(session.wait_for_operation(*server.start_operation(30))):
            await turns(2)
            recorder.fails = False

    with pytest.raises(OSError, match="No space left"):
        await recover()
    assert (len(recorder.frames), recorder.closed) == (2, 1)


async def test_an_iteration_is_shown_too(server: FakeSchedules, session: SchedulesSession) -> None:
    recorder = Recorder()
    waiter = session.wait_for_operation(*server.start_operation(30, operation_id="a"))
    with recorder.showing(waiter):
        changes = [operation async for operation in waiter]
    assert len(changes) > 1
    assert recorder.frames[-1] == ["a 1"]
