"""The production example: the environment names the service, and each operation that did not succeed is logged."""

import pytest
from environment import environment
from in_production import wait_for_all

from schedules_async.testing import FakeSchedules, operation_answer


async def test_lost_operations_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with FakeSchedules() as server:
        done = server.script_operation(operation_answer("Succeeded"))
        failed = server.script_operation(operation_answer("Failed", failure_description="The disk is full."))
        with environment(SCHEDULES_BASE_URL=server.url, SCHEDULES_TOKEN=server.token):
            await wait_for_all([str(done), server.url_of(failed), "no/such"])
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [text.split(":")[0] for text in warnings] == ["OperationFailedError", "NotFoundError"]
    assert "The disk is full." in warnings[0]
