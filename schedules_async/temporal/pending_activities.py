"""Activities that read the heartbeat details of a workflow's pending activities.

The workflow runs them as local activities: each adds one event to its history, however many operations it waits for.
"""

from temporalio import activity

from schedules_async.temporal.heartbeat_details import HeartbeatDetails


@activity.defn(name="schedules_async.pending_percents")
async def pending_percents() -> dict[str, float]:
    """Return the percent complete of each pending activity that has a snapshot, by the activity's id."""
    pending = await _pending()
    return {key: 100 * details.operation.fraction for key, details in pending.items() if details.operation}


@activity.defn(name="schedules_async.pending_details")
async def pending_details() -> dict[str, str]:
    """Return the heartbeat details of each pending activity as text, by the activity's id."""
    return {key: details.to_json() for key, details in (await _pending()).items()}


async def _pending() -> dict[str, HeartbeatDetails]:
    """Return the details of each pending activity that has sent a heartbeat."""
    info, client = activity.info(), activity.client()
    handle = client.get_workflow_handle(info.workflow_id or "", run_id=info.workflow_run_id)
    pending = (await handle.describe()).raw_description.pending_activities
    payloads = {each.activity_id: each.heartbeat_details.payloads for each in pending}
    decode = client.data_converter.decode
    return {key: HeartbeatDetails.from_json((await decode(each))[0]) for key, each in payloads.items() if each}
