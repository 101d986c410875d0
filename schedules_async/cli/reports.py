"""What a command prints about operations and errors, and the exit codes."""

import json
from collections.abc import Iterable, Mapping
from math import ceil
from typing import Any

import click
from attrs import frozen

from schedules_async import Operation, OperationRef, TimeRemaining
from schedules_async.errors import (
    AuthenticationError,
    OperationFailedError,
    OperationStalledError,
    OperationTimeoutError,
    SchedulesError,
)
from schedules_async.events import Event, Throttled
from schedules_async.progress.text import describe_error, describe_operation, error_reason, printable

FAILED, USAGE, TIMEOUT, SERVICE_ERROR, INTERRUPTED, CLOSED_PIPE = 1, 2, 3, 4, 130, 141

_SHORTEST_SECRET = 8  # characters; a shorter text may occur in the command's own messages
_EXIT_CODES: tuple[tuple[type[Exception], int], ...] = (
    (OperationFailedError, FAILED),
    (OperationTimeoutError, TIMEOUT),
    (OperationStalledError, TIMEOUT),
    (SchedulesError, SERVICE_ERROR),
    (ValueError, USAGE),
    (TypeError, USAGE),
)


class CommandError(Exception):
    """An error that ends the command, with a sentence for each cause and the exit code."""

    def __init__(self, *sentences: str, exit_code: int) -> None:
        super().__init__(*sentences)
        self.sentences = sentences
        self.exit_code = exit_code


def to_command_error(
    errors: Iterable[Exception], secrets: Iterable[str], names: Mapping[OperationRef, str] | None = None
) -> CommandError:
    """Return the errors of the library as one CommandError without secrets, with the highest of their exit codes.

    An AuthenticationError is reported once, since it concerns all operations. A sentence contains the name of an
    operation instead of its ids, if it has one.
    """
    causes = list(errors)
    exit_code = max(next(code for kind, code in _EXIT_CODES if isinstance(error, kind)) for error in causes)
    sentences = dict.fromkeys(redact(_describe(each, names or {}), secrets) for each in causes)
    return CommandError(*sentences, exit_code=exit_code)


def _describe(error: Exception, names: Mapping[OperationRef, str]) -> str:
    if isinstance(error, AuthenticationError):
        return error_reason(error)
    text = describe_error(error)
    ref = error.ref if isinstance(error, SchedulesError) else None
    if ref is None or ref not in names:
        return text
    return printable(names[ref]) + text.removeprefix(printable(str(ref)))


def redact(text: str, secrets: Iterable[str]) -> str:
    """Return the text with each secret replaced by a placeholder."""
    for secret in secrets:
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "[secret]")
    return text


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
