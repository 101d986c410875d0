import asyncio
import logging

import pytest
from event_loops import turns

from schedules_async import OperationFailedError, OperationGroupError, OperationRef, SchedulesSession
from schedules_async.progress.tracker import Tracker
from schedules_async.testing import FakeSchedules, operation_answer

SUCCEEDED = operation_answer("Succeeded")


class Recorder(Tracker):
    """Records frames as lists of text, and counts how often the display was opened and closed."""

    opened = closed = 0
    failure: BaseException | None = None

    def _open(self) -> None:
        self.opened += 1
        self.frames: list[list[str]] = []

    def _draw(self) -> None:
        self.frames.append([f"{track.name} {track.fraction:g}" for track in self._board.tracks])
        if self.failure is not None:
            raise self.failure

    def _close(self) -> None:
        self.closed += 1


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelname == "WARNING"]


async def test_track_returns_the_result_of_the_wait(server: FakeSchedules, session: SchedulesSession) -> None:
    refs = [server.script_operation(SUCCEEDED, operation_id=name) for name in "ab"]
    recorder = Recorder()
    operation = await recorder.track(session.wait_for_operation(*refs[0]))
    assert operation.is_succeeded
    assert recorder.frames[-1] == ["a 1"]
    operations = await recorder.track(session.wait_for_operations(refs))
    assert [operation.ref for operation in operations] == refs
    assert recorder.frames[-1] == ["a 1", "b 1"]
    assert (recorder.opened, recorder.closed) == (2, 2)


async def test_track_raises_the_error_of_the_wait(server: FakeSchedules, session: SchedulesSession) -> None:
    failing = server.script_operation(operation_answer("Failed", percent_complete=30), operation_id="a")
    recorder = Recorder()
    with pytest.raises(OperationFailedError):
        await recorder.track(session.wait_for_operation(*failing))
    with pytest.raises(OperationGroupError):
        await recorder.track(session.wait_for_operations([failing, OperationRef(failing.schedule_id, "b")]))
    assert recorder.frames[-1] == ["a 0.3", "b 0"]
    assert recorder.closed == 2


async def test_track_concurrently_shares_one_display(server: FakeSchedules, session: SchedulesSession) -> None:
    refs = [server.start_operation(seconds, operation_id=f"{seconds} s") for seconds in (5, 60)]
    recorder = Recorder()
    await asyncio.gather(*(recorder.track(session.wait_for_operation(*ref)) for ref in refs))
    assert (recorder.opened, recorder.closed) == (1, 1)
    assert recorder.frames[-1] == ["5 s 1", "60 s 1"]


async def test_track_cancelled_closes_and_leaves_no_task(server: FakeSchedules, session: SchedulesSession) -> None:
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


@pytest.mark.parametrize("failure", [OSError(5, "Input/output error"), SystemExit(1)])
async def test_drawing_fails_wait_returns_its_result(
    server: FakeSchedules, session: SchedulesSession, caplog: pytest.LogCaptureFixture, failure: BaseException
) -> None:
    """The display is closed and the failure logged, once, also if closing fails as well."""
    recorder = Recorder()
    recorder.failure = failure
    operation = await recorder.track(session.wait_for_operation(*server.start_operation(30)))
    assert operation.is_succeeded
    assert (len(recorder.frames), recorder.closed) == (1, 1)
    assert warnings_in(caplog) == ["progress can no longer be displayed"]


async def test_drawing_fails_once_display_stays_closed(
    server: FakeSchedules, session: SchedulesSession, caplog: pytest.LogCaptureFixture
) -> None:
    """Also for waits that are tracked later, until all have ended; then there is a new display."""
    recorder = Recorder()
    recorder.failure = OSError(28, "No space left on device")
    with recorder.showing(session.wait_for_operation(*server.start_operation(30))):
        await turns(2)
        recorder.failure = None
        await recorder.track(session.wait_for_operation(*server.start_operation(5)))
    assert (recorder.opened, len(recorder.frames), recorder.closed) == (1, 1, 1)
    await recorder.track(session.wait_for_operation(*server.start_operation(5, operation_id="a")))
    assert (recorder.opened, recorder.frames[-1], recorder.closed) == (2, ["a 1"], 2)
    assert len(warnings_in(caplog)) == 1


async def test_opening_fails_wait_returns_its_result(
    server: FakeSchedules, session: SchedulesSession, caplog: pytest.LogCaptureFixture
) -> None:
    class Unopenable(Recorder):
        def _open(self) -> None:
            raise OSError(5, "Input/output error")

    assert (await Unopenable().track(session.wait_for_operation(*server.start_operation(30)))).is_succeeded
    assert len(warnings_in(caplog)) == 1


async def test_opening_and_logging_fail_wait_returns_its_result(
    server: FakeSchedules, session: SchedulesSession
) -> None:
    """A log without handlers writes to stderr: where that is closed, neither the bars nor the log can be written."""

    class Unopenable(Recorder):
        def _open(self) -> None:
            raise ValueError("I/O operation on closed file")

    def write(record: logging.LogRecord) -> bool:
        if record.levelno == logging.WARNING:
            raise ValueError("I/O operation on closed file")
        return True

    logger = logging.getLogger("schedules_async")
    logger.addFilter(write)
    try:
        assert (await Unopenable().track(session.wait_for_operation(*server.start_operation(30)))).is_succeeded
    finally:
        logger.removeFilter(write)


async def test_closing_fails_wait_returns_its_result(
    server: FakeSchedules, session: SchedulesSession, caplog: pytest.LogCaptureFixture
) -> None:
    class Unclosable(Recorder):
        def _close(self) -> None:
            raise OSError(5, "Input/output error")

    assert (await Unclosable().track(session.wait_for_operation(*server.start_operation(30)))).is_succeeded
    assert len(warnings_in(caplog)) == 1


async def test_showing_starts_no_task(session: SchedulesSession) -> None:
    """So that nobody who cancels the tasks of the event loop ends the drawing."""
    before = asyncio.all_tasks()
    with Recorder().showing(session.wait_for_operation("s", "o")):
        await turns(3)
        assert asyncio.all_tasks() == before


async def test_showing_displays_an_iteration(server: FakeSchedules, session: SchedulesSession) -> None:
    recorder = Recorder()
    waiter = session.wait_for_operation(*server.start_operation(30, operation_id="a"))
    with recorder.showing(waiter):
        changes = [operation async for operation in waiter]
    assert len(changes) > 1
    assert recorder.frames[-1] == ["a 1"]
