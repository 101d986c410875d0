"""What a command prints about operations while it waits: lines of text, JSON, or nothing."""

import json
from collections.abc import Mapping
from math import ceil
from typing import Any

import click
from attrs import frozen

from schedules_async import Operation, OperationRef, TimeRemaining
from schedules_async.cli.exit_codes import redact
from schedules_async.events import Event, Throttled
from schedules_async.progress.text import describe_operation, error_reason, printable

Names = Mapping[OperationRef, str]


class Report:
    """What a command prints about operations and events; this base class prints nothing."""

    def on_change(self, operation: Operation, remaining: TimeRemaining | None = None) -> None:
        """Print a new snapshot."""

    def on_loss(self, ref: OperationRef, error: Exception) -> None:
        """Print that the wait for an operation has ended with an error."""

    def on_event(self, event: Event) -> None:
        """Print an event of the session."""


@frozen
class Lines(Report):
    """Prints a line for each change, and for each time that the service starts to throttle the session.

    A lost operation adds no line here, because an error on stderr reports it.
    """

    names: Names

    def on_change(self, operation: Operation, remaining: TimeRemaining | None = None) -> None:
        """Print the state of the operation."""
        name = printable(self.names.get(operation.ref) or str(operation.ref))
        click.echo(f"{name}: {describe_operation(operation, remaining)}")

    def on_event(self, event: Event) -> None:
        """Print for how many seconds no request is sent, once for each time that the gate closes."""
        if isinstance(event, Throttled) and event.was_open:
            click.echo(f"throttled, {ceil(event.closed_for)} s left")


@frozen
class JsonLines(Report):
    """Prints an object for each change, or with `is_final_only` for each operation once it has ended."""

    names: Names
    secrets: tuple[str, ...]
    is_final_only: bool = False

    def on_change(self, operation: Operation, _: TimeRemaining | None = None) -> None:
        """Print the operation as the service describes it."""
        if operation.is_done or not self.is_final_only:
            self._print(operation.ref, {"operation": operation.to_dict()})

    def on_loss(self, ref: OperationRef, error: Exception) -> None:
        """Print the error."""
        facts = {
            "type": type(error).__name__,
            "message": redact(error_reason(error), self.secrets),
            "status": getattr(error, "status", None),
            "code": getattr(error, "code", None),
        }
        self._print(ref, {"error": facts, "id": ref.operation_id, "scheduleId": ref.schedule_id})

    def _print(self, ref: OperationRef, facts: dict[str, Any]) -> None:
        named = {"name": self.names[ref]} if ref in self.names else {}
        click.echo(json.dumps({**facts, **named}))
