import pytest

from schedules_async import Operation, TimeRemaining
from schedules_async.cli.following import Limits, Service, follow, look
from schedules_async.errors import OperationFailedError, OperationStalledError, OperationTimeoutError
from schedules_async.testing import FakeSchedules, operation_answer


async def test_a_look_gives_the_operation() -> None:
    async with FakeSchedules() as server:
        ref = server.script_operation(operation_answer("Started", percent=30))
        assert (await look(Service(server.token, server.url), ref)).percent_complete == 30
        assert len(server.requests) == 1


async def test_each_change_is_reported_and_the_failure_raised() -> None:
    seen: list[str] = []

    def report(operation: Operation, _: TimeRemaining | None) -> None:
        seen.append(operation.raw_status)

    async with FakeSchedules() as server:
        ref = server.script_operation(operation_answer("Queued"), operation_answer("Failed", failure="No room"))
        with pytest.raises(OperationFailedError, match="No room"):
            await follow(Service(server.token, server.url), ref, Limits(), report)
    assert seen == ["Queued", "Failed"]


@pytest.mark.parametrize(
    ("limits", "error"),
    [(Limits(timeout=0.05), OperationTimeoutError), (Limits(stall_timeout=0.05), OperationStalledError)],
)
async def test_a_wait_ends_at_its_limits(limits: Limits, error: type[Exception]) -> None:
    async with FakeSchedules() as server:
        ref = server.script_operation(operation_answer("Started"))
        with pytest.raises(error):
            await follow(Service(server.token, server.url), ref, limits, lambda _, __: None)


def test_a_service_does_not_show_its_token() -> None:
    assert "secret" not in repr(Service("secret", "https://api.example"))
