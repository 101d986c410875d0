"""Watch operations in the terminal: add one, see its bar, cancel its wait. Needs `pip install textual`.

    python examples/textual_app.py [SCHEDULE_ID/OPERATION_ID ...] [--seconds SECONDS]

Without ids it watches operations of an embedded server (which has "bridge/archive" too, to be added). With ids it asks
the service, with the token in SCHEDULES_TOKEN; SCHEDULES_BASE_URL names the service unless it is the dev API.

Each row iterates over a wait in a worker of its own. Textual cancels the worker when the row is removed, and with it
the wait; the operation on the service goes on.
"""

import argparse
import asyncio
import math
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Footer, Header, Input, Label, ProgressBar

from schedules_async import (
    DEV,
    Operation,
    OperationRef,
    OperationWaiter,
    PollingPolicy,
    SchedulesError,
    SchedulesSession,
    TimeRemaining,
)
from schedules_async.testing import FakeSchedules

LIVELY = PollingPolicy(cost=0.02, min_interval=0.5, max_interval=1.0, max_predicted_interval=1.0)
SHOW: tuple[dict[str, Any], ...] = (
    {
        "operation_id": "clone-schedule",
        "duration": 50,
        "sub_status": ("Reading tasks", "Copying tasks", "Copying links"),
    },
    {"operation_id": "import-baselines", "duration": 70, "progress": "steps", "sub_status": "Reading baselines"},
    {"operation_id": "calculate-dates", "duration": 40, "progress": "none", "sub_status": "Calculating"},
    {
        "operation_id": "check-rules",
        "duration": 30,
        "progress": lambda x: 63 * x,
        "fails_with": "Rule 7 needs a calendar.",
    },
    {"operation_id": "export-report", "duration": 20, "sub_status": ("Collecting", "Writing", "Compressing")},
)


class Row(Horizontal, can_focus=True):
    """One operation: its name, its bar, and where it stands."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("delete,backspace", "cancel", "Cancel the wait", key_display="del"),
        Binding("up", "app.focus_previous", show=False),
        Binding("down", "app.focus_next", show=False),
    ]

    def __init__(self, waiter: OperationWaiter) -> None:
        super().__init__()
        self.waiter = waiter
        self.bar = ProgressBar(show_eta=False)
        self.words = Label("not seen yet", classes="words", markup=False)
        self.left = Label(classes="left")

    def compose(self) -> ComposeResult:
        yield Label(self.waiter.ref.operation_id, classes="name", markup=False)
        yield from (self.bar, self.words, self.left)

    def on_mount(self) -> None:
        self.run_worker(self.follow())

    async def follow(self) -> None:
        try:
            async for operation in self.waiter:
                self.show(operation)
        except SchedulesError as error:
            self.end("failed", f"✗ {error}")

    def show(self, operation: Operation) -> None:
        reached = min(max(operation.percent_complete / 100, 0.0), 1.0)  # a failed one is drawn as far as it came
        self.bar.update(total=1.0, progress=reached if operation.is_failed else operation.fraction)
        if operation.is_failed:
            self.end("failed", f"✗ {operation.failure_description or 'no reason given'}")
        elif operation.is_succeeded:
            self.end("succeeded", "✓ Succeeded")
        else:
            self.words.update(operation.sub_status or operation.raw_status)
            self.left.update(spell(self.waiter.time_remaining))

    def end(self, how: str, words: str) -> None:
        self.bar.update(total=1.0)
        self.words.update(words)
        self.left.update("")
        self.add_class(how)

    async def action_cancel(self) -> None:
        self.screen.focus_next()
        await self.remove()


class OperationsApp(App[None]):
    """The rows, and a field to add one."""

    TITLE = "Operations"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+q", "quit", "Quit")]
    CSS = """
    Row { height: 1; padding: 0 1; }
    Row:focus { background: $primary 30%; }
    Row .name { width: 18; }
    Row ProgressBar { width: 32; }
    Row Bar { width: 24; }
    Row .words { width: 1fr; text-wrap: nowrap; text-overflow: ellipsis; }
    Row .left { width: auto; }
    Row.succeeded .words { color: $text-success; }
    Row.failed .words { color: $text-error; }
    Row Bar > .bar--bar { background: $foreground 20%; }
    Row.failed Bar > .bar--bar { color: $error; }
    """

    def __init__(self, session: SchedulesSession, refs: list[OperationRef], seconds: float | None = None) -> None:
        super().__init__()
        self.session = session
        self.refs = refs
        self.seconds = seconds

    def compose(self) -> ComposeResult:
        yield Header(icon="")
        yield Input(placeholder="Add SCHEDULE_ID/OPERATION_ID, or the URL of an operation")
        with VerticalScroll(can_focus=False):
            yield from map(self.row, self.refs)
        yield Footer()

    def row(self, ref: OperationRef) -> Row:
        return Row(self.session.wait_for_operation(*ref, check=False))

    def on_mount(self) -> None:
        if self.seconds is not None:
            self.set_timer(self.seconds, self.exit)

    async def on_input_submitted(self, submitted: Input.Submitted) -> None:
        try:
            ref = read_ref(submitted.value)
        except ValueError as error:
            self.notify(str(error), severity="error", markup=False)
        else:
            await self.query_one(VerticalScroll).mount(self.row(ref))
            submitted.input.clear()


def spell(left: TimeRemaining | None) -> str:
    """Write a range in hours, minutes and seconds."""
    if left is None:
        return ""
    low, high = timedelta(seconds=math.floor(left.low)), timedelta(seconds=math.ceil(left.high))
    return f"{low} - {high} left"


def read_ref(text: str) -> OperationRef:
    """Read SCHEDULE_ID/OPERATION_ID or a URL; ValueError for anything else."""
    if "://" in text:
        return OperationRef.from_url(text)
    schedule_id, slash, operation_id = text.strip().partition("/")
    if not slash or "/" in operation_id:
        raise ValueError(f"{text!r} is not SCHEDULE_ID/OPERATION_ID")
    return OperationRef(schedule_id, operation_id)


@asynccontextmanager
async def operations_to_show(named: list[OperationRef]) -> AsyncIterator[tuple[SchedulesSession, list[OperationRef]]]:
    """Open a session with the service for what was named, or else with a server that has something to show."""
    if named:
        base_url = os.environ.get("SCHEDULES_BASE_URL", DEV.api_url)
        async with SchedulesSession(os.environ["SCHEDULES_TOKEN"], base_url=base_url) as session:
            yield session, named
    else:
        async with FakeSchedules() as server, server.session(polling=LIVELY, rate_limits=()) as session:
            server.start_operation(90, queued=20, schedule_id="bridge", operation_id="archive")
            yield session, [server.start_operation(schedule_id="bridge", **options) for options in SHOW]


async def main(refs: list[OperationRef], seconds: float | None) -> None:
    async with operations_to_show(refs) as (session, shown):
        await OperationsApp(session, shown, seconds).run_async(headless=not sys.stdout.isatty())
        print(f"requests: {session.stats.requests}, of them saved by 304: {session.stats.not_modified}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("refs", nargs="*", metavar="SCHEDULE_ID/OPERATION_ID", type=read_ref)
    parser.add_argument("--seconds", type=float, help="end by itself after so long")
    asyncio.run(main(**vars(parser.parse_args())))
