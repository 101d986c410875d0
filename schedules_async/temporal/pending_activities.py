"""How the waits of a workflow stand: what their heartbeats told the engine, asked for by the workflow itself.

Both are local activities: a round of all waits is one event of the history, however many there are.
"""

from temporalio import activity

from schedules_async.temporal.memory import Memory


@activity.defn(name="schedules_async.percents")
async def percents() -> dict[str, float]:
    """Give the progress of each wait that has seen its operation, by the activity's id."""
    return {wait: 100 * memory.operation.fraction for wait, memory in (await _recall_all()).items() if memory.operation}


@activity.defn(name="schedules_async.memories")
async def memories() -> dict[str, str]:
    """Give what each wait would leave to its next attempt, by the activity's id."""
    return {wait: memory.to_json() for wait, memory in (await _recall_all()).items()}


async def _recall_all() -> dict[str, Memory]:
    info, client = activity.info(), activity.client()
    handle = client.get_workflow_handle(info.workflow_id or "", run_id=info.workflow_run_id)
    pending = (await handle.describe()).raw_description.pending_activities
    return {
        wait.activity_id: Memory.from_json((await client.data_converter.decode(wait.heartbeat_details.payloads))[0])
        for wait in pending
        if wait.heartbeat_details.payloads
    }
