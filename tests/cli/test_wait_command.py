from pathlib import Path

import pytest

from schedules_async import Operation, OperationRef, TimeRemaining
from schedules_async._waiters.checkpoint import Checkpoint
from schedules_async.cli.arguments import Identity
from schedules_async.cli.wait_command import Audience, Service, follow, look
from schedules_async.errors import NotFoundError, OperationFailedError, OperationStalledError, OperationTimeoutError
from schedules_async.testing import FakeSchedules, operation_answer

FOR_EVER = float("inf")


def service_of(server: FakeSchedules) -> Service:
    return Service(Identity(server.token, (server.token,)), server.url)


def plan(*refs: OperationRef, timeout: float = FOR_EVER, stall_timeout: float = FOR_EVER) -> Checkpoint:
    return Checkpoint(refs, {}, is_group=True, check=False, timeout=timeout, stall_timeout=stall_timeout)


def report_nothing(_: Operation, __: TimeRemaining | None) -> None:
    pass


async def test_a_look_gives_the_operation() -> None:
    async with FakeSchedules() as server:
        ref = server.script_operation(operation_answer("Started", percent_complete=30))
        assert (await look(service_of(server), ref)).percent_complete == 30
        assert len(server.requests) == 1


async def test_each_change_is_reported_and_what_went_wrong_is_given() -> None:
    seen: list[str] = []

    def report(operation: Operation, _: TimeRemaining | None) -> None:
        seen.append(operation.raw_status)

    async with FakeSchedules() as server:
        failing = server.script_operation(
            operation_answer("Queued"), operation_answer("Failed", failure_description="No room")
        )
        good, gone = server.script_operation(operation_answer("Succeeded")), OperationRef("no", "such")
        errors = await follow(service_of(server), plan(failing, good, gone), Audience(report))
    assert sorted(seen) == ["Failed", "Queued", "Succeeded"]
    assert [type(error) for error in errors] == [OperationFailedError, NotFoundError]
    assert str(errors[0]) == f"{failing} failed: No room"


@pytest.mark.parametrize(
    ("limit", "error"), [("timeout", OperationTimeoutError), ("stall_timeout", OperationStalledError)]
)
async def test_a_wait_ends_at_its_limits_and_stays_in_its_file(
    limit: str, error: type[Exception], tmp_path: Path
) -> None:
    path = tmp_path / "wait.json"
    async with FakeSchedules() as server:
        ref = server.script_operation(operation_answer("Started"))
        errors = await follow(service_of(server), plan(ref, **{limit: 0.05}), Audience(report_nothing, file=path))
    assert [type(each) for each in errors] == [error]
    assert path.exists()


def test_a_service_does_not_show_its_token() -> None:
    assert "secret" not in repr(Service(Identity("secret", ("secret",)), "https://api.example"))
