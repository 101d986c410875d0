"""The commands and their options, and how the process ends."""

import asyncio
import io
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console

from schedules_async import DEV, PRODUCTION, Operation, OperationRef, SchedulesError, TimeRemaining, __version__
from schedules_async.cli.arguments import VARIABLE, read_token, take_base_url, take_ref
from schedules_async.cli.bars import is_live
from schedules_async.cli.demo import play
from schedules_async.cli.endings import CLOSED_PIPE, FAILED, INTERRUPTED, TROUBLE, USAGE, CommandError, as_command_error
from schedules_async.cli.following import Limits, Service, follow, look
from schedules_async.cli.wording import describe, printable, spell_failure

Value = TypeVar("Value")
Command = TypeVar("Command", bound=Callable[..., Any])

_NAME = "schedules-async"
_EPILOG = f"""\b
Examples:
  schedules-async demo
  {VARIABLE}=... schedules-async wait SCHEDULE_ID/OPERATION_ID
  schedules-async wait --base-url {PRODUCTION.api_url} --token-file token.txt SCHEDULE_ID/OPERATION_ID
  schedules-async wait --json {DEV.api_url}/schedules/SCHEDULE_ID/operations/OPERATION_ID

\b
Exit codes:
  0 succeeded            2 usage            4 service or network error
  1 operation failed     3 timed out        130 interrupted by Ctrl-C
"""
_SERVICE_OPTIONS = (
    click.argument("ref", metavar="REF", callback=take_ref),
    click.option(
        "--base-url",
        metavar="URL",
        envvar="SCHEDULES_BASE_URL",
        callback=take_base_url,
        show_envvar=True,
        help=f"The service; the token goes to no other host. {DEV.api_url} unless given.",
    ),
    click.option(
        "--token-file",
        metavar="PATH",
        type=click.Path(path_type=Path),
        help=f"Read the token from a file, instead of ${VARIABLE}.",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print JSON, one line per change."),
)


def _with_service(command: Command) -> Command:
    for option in reversed(_SERVICE_OPTIONS):
        command = option(command)
    return command


@click.group(invoke_without_command=True, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name=_NAME)
@click.pass_context
def commands(context: click.Context) -> None:
    """Wait for long-running operations of Bentley's iTwin Platform."""
    if context.invoked_subcommand is None:
        raise click.UsageError(f"Say what to do: demo, get or wait ('{_NAME} --help' explains).")


@commands.command()
@click.option("--seconds", metavar="N", type=click.IntRange(2, 25), default=12, show_default=True, help="How long.")
def demo(seconds: int) -> None:
    """Watch six operations on a server of its own, one of them failing; needs no token."""
    asyncio.run(play(seconds, Console(highlight=False)))


@commands.command()
@_with_service
def get(ref: OperationRef, base_url: str, token_file: Path | None, *, as_json: bool) -> None:
    """Look at one operation once.

    REF is SCHEDULE_ID/OPERATION_ID or the URL of an operation.
    """
    service = Service(read_token(token_file), base_url)
    operation = _run(look(service, ref), service.token)
    (_print_json if as_json else _print_line)(operation)
    if operation.is_failed:
        raise CommandError(f"{ref} failed: {spell_failure(operation)}", FAILED)


@commands.command()
@_with_service
@click.option("--timeout", metavar="SECONDS", type=float, help="Give up after so long.")
@click.option("--stall-timeout", metavar="SECONDS", type=float, help="Give up when nothing changed for so long.")
def wait(
    ref: OperationRef,
    base_url: str,
    token_file: Path | None,
    timeout: float | None,
    stall_timeout: float | None,
    *,
    as_json: bool,
) -> None:
    """Wait until one operation has ended.

    REF is SCHEDULE_ID/OPERATION_ID or the URL of an operation. On a terminal a bar shows the progress;
    elsewhere each change is a line.
    """
    service = Service(read_token(token_file), base_url)
    console = Console(stderr=True)
    can_draw = is_live(console) and sys.stdout.isatty() is not as_json  # never both on one terminal
    report = _print_json if as_json else _print_nothing if can_draw else _print_line
    limits = Limits(timeout, stall_timeout)
    _run(follow(service, ref, limits, report, console if can_draw else None), service.token)


def _print_json(operation: Operation, _: TimeRemaining | None = None) -> None:
    click.echo(operation.to_json())


def _print_line(operation: Operation, remaining: TimeRemaining | None = None) -> None:
    click.echo(f"{printable(str(operation.ref))}: {describe(operation, remaining)}")


def _print_nothing(_: Operation, __: TimeRemaining | None) -> None:
    """Leave it to the bar."""


def _run(work: Coroutine[Any, Any, Value], token: str) -> Value:
    try:
        return asyncio.run(work)
    except (SchedulesError, ValueError, TypeError) as error:
        raise as_command_error(error, token) from error


def run(arguments: Sequence[str]) -> int:
    """Run the command line; give the exit code, with one sentence on stderr where something went wrong."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        return _invoke(list(arguments))
    except CommandError as error:
        return _say(str(error), error.exit_code)
    except click.ClickException as error:
        return _say(error.format_message(), USAGE)
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        return _give_up(error)


def _invoke(arguments: list[str]) -> int:
    """Run a command without click's own handling of pipes and interrupts."""
    try:
        with commands.make_context(_NAME, arguments) as context:
            commands.invoke(context)
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    finally:
        sys.stdout.flush()
    return 0


def _say(text: str, exit_code: int) -> int:
    with suppress(OSError):
        click.echo(f"{_NAME}: {printable(text)}", err=True)
    return exit_code


def _give_up(error: OSError) -> int:
    """End after output that could not be written; a closed pipe needs no words."""
    exit_code = CLOSED_PIPE
    if not isinstance(error, BrokenPipeError):
        exit_code = _say(f"Stopped by the system: {error.strerror or error}.", TROUBLE)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):  # else the interpreter's last flush fails again, and says so
        os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
    return exit_code
