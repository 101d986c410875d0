"""What the engine knows of a workflow's waits, asked for by the workflow itself."""

from dataclasses import replace

import pytest
from temporal_servers import at_work, start, temporal, until
from temporalio.client import Client
from temporalio.testing import ActivityEnvironment

from schedules_async.temporal import WaitRequest
from schedules_async.temporal.memory import Memory
from schedules_async.temporal.standing import memories, percents
from schedules_async.testing import FakeSchedules, operation_answer, stall

pytestmark = pytest.mark.temporal


def environment(client: Client) -> ActivityEnvironment:
    """Make what an activity of the workflow `waiting` runs in."""
    surroundings = ActivityEnvironment(client)
    surroundings.info = replace(surroundings.info, workflow_id="waiting", workflow_run_id=None)
    return surroundings


async def test_each_wait_that_has_seen_its_operation_is_known_by_its_number() -> None:
    async with temporal() as engine, FakeSchedules() as service:
        unseen = service.script_operation(stall())
        seen = service.script_operation(operation_answer("Started", percent_complete=40.0, etag='"a"'))
        async with at_work(engine.client, service):
            await start(engine.client, WaitRequest.of([unseen, seen]))
            await until(lambda: len(service.requests_for(seen)) > 1)
            known = await environment(engine.client).run(memories)
            assert await environment(engine.client).run(percents) == {"1": 40.0}
    (operation,) = [Memory.from_json(text).operation for text in known.values()]
    assert operation is not None
    assert (operation.ref, operation.etag) == (seen, '"a"')


async def test_a_workflow_that_waits_for_nothing_has_nothing() -> None:
    async with temporal() as engine, FakeSchedules() as service, at_work(engine.client, service):
        await (await start(engine.client, WaitRequest.of([]))).result()
        assert await environment(engine.client).run(percents) == {}
