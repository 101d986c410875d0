"""What a command prints about operations and errors, and the exit codes."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from math import ceil
from typing import Any

import click
from attrs import field, frozen

from schedules_async import Operation, OperationRef, TimeRemaining
from schedules_async._auth.variables import CLIENT_SECRET, TOKEN
from schedules_async.cli.process import discard_output
from schedules_async.errors import OperationFailedError, SchedulesError, WaitError
from schedules_async.events import Event, Throttled
from schedules_async.progress.text import describe_error, describe_operation, error_reason, printable

NAME = "schedules-async"
FAILED, USAGE, TIMEOUT, SERVICE_ERROR, INTERRUPTED, CLOSED_PIPE = 1, 2, 3, 4, 130, 141

Names = Mapping[OperationRef, str]  # an empty name means none

_SHORTEST_SECRET = 8  # characters; a shorter text may occur in the command's own messages
_EXIT_CODES = {OperationFailedError: FAILED, WaitError: TIMEOUT, SchedulesError: SERVICE_ERROR, Exception: USAGE}


class CommandError(click.ClickException):
    """An error of the system that ends the command, such as a port that is in use."""

    exit_code = SERVICE_ERROR


def print_error(sentence: str) -> None:
    """Print a sentence on stderr; if that cannot be written to, discard all further output."""
    try:
        click.echo(f"{NAME}: {printable(sentence)}", err=True)
    except OSError:
        discard_output()


def find_exit_code(errors: Iterable[Exception]) -> int:
    """Return the highest of the exit codes of errors, 0 without an error."""
    codes = (next(code for kind, code in _EXIT_CODES.items() if isinstance(error, kind)) for error in errors)
    return max(codes, default=0)


@frozen
class Lines:
    """Prints a line for each change, and for each time that the service starts to throttle the session, unless quiet.

    A lost operation adds no line here, because an error on stderr reports it. Errors are printed without the token and
    the secrets of the environment.
    """

    names: Names
    token: str | None = field(default=None, repr=False)
    is_quiet: bool = False

    def on_change(self, operation: Operation, remaining: TimeRemaining | None = None) -> None:
        """Print the state of the operation."""
        if not self.is_quiet:
            name = printable(self.names.get(operation.ref) or str(operation.ref))
            click.echo(f"{name}: {describe_operation(operation, remaining)}")

    def on_event(self, event: Event) -> None:
        """Print for how many seconds no request is sent, once for each time that the gate closes."""
        if isinstance(event, Throttled) and event.was_open and not self.is_quiet:
            seconds = ceil(round(event.closed_for, 3))  # the difference of two times is not exact
            click.echo(f"throttled, {seconds} s left")

    def describe(self, errors: Sequence[Exception]) -> list[str]:
        """Return a sentence for each error, without secrets, and with the name of an operation instead of its ids.

        A sentence that names no operation, for instance that the token was rejected, is returned once.
        """
        return list(dict.fromkeys(self._redact(describe_error(error, self.names)) for error in errors))

    def _redact(self, text: str) -> str:
        for secret in (self.token or "", os.environ.get(TOKEN, "").strip(), os.environ.get(CLIENT_SECRET, "")):
            if len(secret) >= _SHORTEST_SECRET:
                text = text.replace(secret, "[secret]")
        return text


class JsonLines(Lines):
    """Prints an object for each change, or if quiet for each operation once it has ended or was lost."""

    def on_change(self, operation: Operation, _: TimeRemaining | None = None) -> None:
        """Print the operation as the service describes it."""
        if operation.is_done or not self.is_quiet:
            self._print(operation.ref, {"operation": operation.to_dict()})

    def on_event(self, event: Event) -> None:
        """Print nothing."""

    def describe(self, errors: Sequence[Exception]) -> list[str]:
        """Print the error of each lost operation, and return a sentence for each error."""
        for error in errors:
            if not isinstance(error, SchedulesError) or isinstance(error, OperationFailedError) or error.ref is None:
                continue  # nothing was lost
            facts: dict[str, Any] = {"type": type(error).__name__, "message": self._redact(error_reason(error))}
            status, code = (getattr(error, name, None) for name in ("status", "code"))
            facts |= {"status": status, "code": code and self._redact(code)}
            self._print(error.ref, {"error": facts, "id": error.ref.operation_id, "scheduleId": error.ref.schedule_id})
        return super().describe(errors)

    def _print(self, ref: OperationRef, facts: dict[str, Any]) -> None:
        name = self.names.get(ref)
        click.echo(json.dumps({**facts, "name": name} if name else facts))
