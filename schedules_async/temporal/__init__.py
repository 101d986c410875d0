"""Waits on more than one machine: activities and a workflow for Temporal (extra `temporal`).

One process is enough for some 10,000 operations within one quota, and resuming a wait costs one poll. Use this module
if waits must outlive the processes that make them, or if several machines share the work. Run any number of workers:

    async with schedules_worker(client, credentials, task_queue="operations", base_url=PRODUCTION):
        await stop.wait()

Then start the workflow `WaitForOperations` from anywhere. It returns an `Outcome` for each operation, in the order of
the refs, whose `value()` is the final snapshot or the error:

    outcomes = await client.execute_workflow(
        WaitForOperations.run, WaitRequest.of(refs), id="nightly import", task_queue="operations"
    )

A lost operation does not affect the others, unless `stop_at_failure` is set. The workflow's queries `progress` and
`percent_complete` return its progress. Cancelling the workflow ends its waits; the operations continue.

- **Two modes.** By default an activity is one wait, and occupies a slot of its worker (`max_concurrent_activities`,
  1,000) until it ends. With `WaitRequest.of(refs, single_polls=True)` each attempt is one poll, and Temporal waits for
  the policy's interval: no slot is occupied in between, which suits tens of thousands of long operations.
- **The quota** belongs to the client id. Waits keep to the `rate_limits` of their worker's session: divide the quota
  among the workers. Single polls share one limit: `polls_per_second=75` holds for all workers of the task queue
  together, a tenth below the Standard tier's 5000 a minute (use 1.25 for the Community tier's 5000 an hour).
- **A killed worker** is detected after `heartbeat_timeout` (60 s). Its waits continue on other workers from the last
  snapshot, whose ETag the first request carries. A worker that shuts down regularly delays them by a second or two.
- **Size.** One workflow takes at most 1,000 operations, so that its results, of up to 2 kB each, fit into a payload
  (2 MB); start several for more, or for longer descriptions of failures: results that do not fit hang the workflow.
- **Faults** that are transient (429, 408, 500, 502, 503, 504, network, no token available) are retried until `timeout`,
  if there is one.
  Other errors end only the wait that they concern.
- **Tokens** stay with the workers: none is in a payload, a history or a log.
"""

from schedules_async._exports import name_exports

try:
    from schedules_async.temporal.activities import OperationActivities
    from schedules_async.temporal.payloads import OperationWait, Outcome, WaitProgress, WaitRequest
    from schedules_async.temporal.worker import schedules_worker
    from schedules_async.temporal.workflows import WaitForOperations
except ModuleNotFoundError as _missing:
    if (_missing.name or "").partition(".")[0] != "temporalio":
        raise
    raise ModuleNotFoundError(
        "schedules_async.temporal needs its extra: pip install 'schedules-async[temporal]'", name=_missing.name
    ) from _missing

__all__ = [
    "OperationActivities",
    "OperationWait",
    "Outcome",
    "WaitForOperations",
    "WaitProgress",
    "WaitRequest",
    "schedules_worker",
]

name_exports(__name__, globals(), __all__)
