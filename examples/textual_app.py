"""Display operations in a terminal application: add one, follow its bar, cancel its wait. Needs `pip install textual`.

    python examples/textual_app.py [SCHEDULE_ID/OPERATION_ID ...] [--seconds SECONDS]

Without ids it displays operations of an embedded server, and you can add "bridge/archive". With ids it uses the
service, and authenticates with SCHEDULES_TOKEN, or SCHEDULES_CLIENT_ID and SCHEDULES_CLIENT_SECRET; set
SCHEDULES_BASE_URL for any service other than the dev API.

Each row iterates over a wait in a worker of its own. When the row is removed, Textual cancels the worker and with it
the wait; the operation itself continues on the service.
"""

import argparse
import asyncio
import math
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Footer, Header, Input, Label, ProgressBar

from schedules_async import (
    Operation,
    OperationRef,
    OperationWaiter,
    PollingPolicy,
    SchedulesError,
    SchedulesSession,
    TimeRemaining,
)
from schedules_async.testing import FakeSchedules

FREQUENT = PollingPolicy(cost=0.02, min_interval=0.5, max_interval=1.0, max_predicted_interval=1.0)


def stop_at_63_percent(share: float) -> float:
    return 63 * share


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
        "progress": stop_at_63_percent,
        "fails_with": "Rule 7 needs a calendar.",
    },
    {"operation_id": "export-report", "duration": 20, "sub_status": ("Collecting", "Writing", "Compressing")},
)


class Row(Horizontal, can_focus=True):
    """One operation: its name, bar and state."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("delete,backspace", "cancel", "Cancel the wait", key_display="del"),
        Binding("up", "app.focus_previous", show=False),
        Binding("down", "app.focus_next", show=False),
    ]

    def __init__(self, waiter: OperationWaiter) -> None:
        super().__init__()
        self.waiter = waiter
        self.bar = ProgressBar(show_eta=False)
        self.state = Label("no answer yet", classes="state", markup=False)
        self.remaining = Label(classes="remaining")

    def compose(self) -> ComposeResult:
        yield Label(self.waiter.ref.operation_id, classes="name", markup=False)
        yield from (self.bar, self.state, self.remaining)

    def on_mount(self) -> None:
        self.run_worker(self.follow())

    async def follow(self) -> None:
        try:
            async for operation in self.waiter:
                self.display_operation(operation)
        except SchedulesError as error:
            self.end("failed", f"✗ {error}")

    def display_operation(self, operation: Operation) -> None:
        self.bar.update(total=1.0, progress=operation.fraction)
        if operation.is_failed:
            self.bar.update(progress=min(max(operation.percent_complete / 100, 0.0), 1.0))  # the fraction it reached
            self.end("failed", f"✗ {operation.failure_description or 'no reason given'}")
        elif operation.is_succeeded:
            self.end("succeeded", "✓ Succeeded")
        else:
            self.state.update(operation.sub_status or operation.raw_status)
            self.remaining.update(format_remaining(self.waiter.time_remaining))

    def end(self, outcome: str, text: str) -> None:
        self.bar.update(total=1.0)
        self.state.update(text)
        self.remaining.update("")
        self.add_class(outcome)

    async def action_cancel(self) -> None:
        self.screen.focus_next()
        await self.remove()


class OperationsApp(App[None]):
    """A row for each operation, and a field to add one."""

    TITLE = "Operations"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+q", "quit", "Quit")]
    CSS = """
    Row { height: 1; padding: 0 1; }
    Row:focus { background: $primary 30%; }
    Row .name { width: 18; }
    Row ProgressBar { width: 32; }
    Row Bar { width: 24; }
    Row .state { width: 1fr; text-wrap: nowrap; text-overflow: ellipsis; }
    Row .remaining { width: auto; }
    Row.succeeded .state { color: $text-success; }
    Row.failed .state { color: $text-error; }
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
            ref = OperationRef.parse(submitted.value.strip())
        except ValueError as error:
            self.notify(str(error), severity="error", markup=False)
        else:
            await self.query_one(VerticalScroll).mount(self.row(ref))
            submitted.input.clear()


def format_remaining(remaining: TimeRemaining | None) -> str:
    """Return a range in hours, minutes and seconds."""
    if remaining is None:
        return ""
    low, high = timedelta(seconds=math.floor(remaining.low)), timedelta(seconds=math.ceil(remaining.high))
    return f"{low} - {high} left"


@asynccontextmanager
async def open_operations(
    named: list[OperationRef],
) -> AsyncGenerator[tuple[SchedulesSession, list[OperationRef]], None]:
    """Yield a session and the named operations or, without any, a session and operations of an embedded server."""
    if named:
        async with SchedulesSession.from_env() as session:
            yield session, named
    else:
        async with FakeSchedules() as server, server.session(polling=FREQUENT, rate_limits=()) as session:
            server.start_operation(90, queued=20, schedule_id="bridge", operation_id="archive")
            yield session, [server.start_operation(schedule_id="bridge", **options) for options in SHOW]


async def main(refs: list[OperationRef], seconds: float | None) -> None:
    async with open_operations(refs) as (session, shown):
        await OperationsApp(session, shown, seconds).run_async(headless=not sys.stdout.isatty())
        print(f"{session.stats.requests} requests, {session.stats.not_modified} saved by 304")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("refs", nargs="*", metavar="SCHEDULE_ID/OPERATION_ID", type=OperationRef.parse)
    parser.add_argument("--seconds", type=float, help="exit after this long")
    asyncio.run(main(**vars(parser.parse_args())))
