from dataclasses import replace

import pytest
from temporal_servers import running_worker, start, temporal, until
from temporalio.client import Client
from temporalio.testing import ActivityEnvironment

from schedules_async.temporal import WaitRequest
from schedules_async.temporal.heartbeat_details import HeartbeatDetails
from schedules_async.temporal.pending_activities import pending_details, pending_percents
from schedules_async.testing import FakeSchedules, operation_answer, stall

pytestmark = pytest.mark.temporal


def make_environment(client: Client) -> ActivityEnvironment:
    """Return the environment of an activity of the workflow `waiting`."""
    result = ActivityEnvironment(client)
    result.info = replace(result.info, workflow_id="waiting", workflow_run_id=None)
    return result


async def test_pending_waits_are_reported_by_activity_id() -> None:
    async with temporal() as engine, FakeSchedules() as service:
        unanswered = service.script_operation(stall())
        answered = service.script_operation(operation_answer("Started", percent_complete=40.0, etag='"a"'))
        async with running_worker(engine.client, service):
            await start(engine.client, WaitRequest.of([unanswered, answered]))
            await until(lambda: len(service.requests_for(answered)) > 1)
            details = await make_environment(engine.client).run(pending_details)
            assert await make_environment(engine.client).run(pending_percents) == {"1": 40.0}
    (operation,) = [HeartbeatDetails.from_json(text).operation for text in details.values()]
    assert operation is not None
    assert (operation.ref, operation.etag) == (answered, '"a"')


async def test_workflow_without_waits_reports_nothing() -> None:
    async with temporal() as engine, FakeSchedules() as service, running_worker(engine.client, service):
        await (await start(engine.client, WaitRequest.of([]))).result()
        assert await make_environment(engine.client).run(pending_percents) == {}
