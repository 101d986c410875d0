"""The commands and their options, and how the process exits."""

import asyncio
import io
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import shell_complete
from rich.console import Console

from schedules_async import DEV, PRODUCTION, Operation, OperationRef, SchedulesError, TimeRemaining, __version__
from schedules_async._waiters.checkpoint import Checkpoint
from schedules_async.cli.arguments import (
    BASE_URL,
    CLIENT_ID,
    CLIENT_SECRET,
    TOKEN,
    TOKEN_URL,
    parse_ref_argument,
    parse_ref_arguments,
    parse_timeout,
    read_identity,
    resolve_base_url,
)
from schedules_async.cli.checkpoint_option import load_checkpoint
from schedules_async.cli.demo import run_demo
from schedules_async.cli.exit_codes import (
    CLOSED_PIPE,
    FAILED,
    INTERRUPTED,
    SERVICE_ERROR,
    USAGE,
    CommandError,
    to_command_error,
)
from schedules_async.cli.serve_command import serve_operations
from schedules_async.cli.wait_command import Output, Report, Service, fetch, wait_for_all
from schedules_async.progress.rich_bars import is_live
from schedules_async.progress.text import describe_operation, failure_reason, printable

Value = TypeVar("Value")
Command = TypeVar("Command", bound=Callable[..., Any])

_NAME = "schedules-async"
_COMPLETION = "_SCHEDULES_ASYNC_COMPLETE"
_EPILOG = f"""\b
Examples:
  schedules-async demo
  schedules-async serve --operations 20 --quota 100
  {TOKEN}=... schedules-async wait SCHEDULE_ID/OPERATION_ID
  schedules-async wait --base-url {PRODUCTION.api_url} --token-file token.txt SCHEDULE_ID/OPERATION_ID

\b
Credentials, in order of precedence; never on the command line:
  --token-file PATH
  {TOKEN}
  {CLIENT_ID} and {CLIENT_SECRET}
    (and {TOKEN_URL}, unless the service is dev, QA or production)

\b
Exit codes; with several operations, the highest applies:
  0 succeeded            2 usage error      4 service or network error
  1 operation failed     3 timed out        130 interrupted (Ctrl-C)

\b
Shell completion (bash; similarly for zsh and fish):
  eval "$({_COMPLETION}=bash_source {_NAME})"
"""
_WAIT_EPILOG = f"""\b
Examples:
  schedules-async wait SCHEDULE_ID/OPERATION_ID SCHEDULE_ID/ANOTHER_ID --timeout 3600
  schedules-async wait --json --quiet {DEV.api_url}/schedules/SCHEDULE_ID/operations/OPERATION_ID
  schedules-async wait --checkpoint import.json - < operations.txt
"""
_SERVICE_OPTIONS = (
    click.option(
        "--base-url",
        metavar="URL",
        envvar=BASE_URL,
        callback=resolve_base_url,
        show_envvar=True,
        help=f"Base URL of the service, the only host that is sent the token. Default: {DEV.api_url}.",
    ),
    click.option(
        "--token-file",
        metavar="PATH",
        type=click.Path(path_type=Path),
        help=f"Read the token from a file instead of ${TOKEN} or client credentials.",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print JSON, one object per line."),
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
        raise click.UsageError(f"Missing command: demo, get, serve or wait (see '{_NAME} --help').")


@commands.command()
@click.option("--seconds", metavar="N", type=click.IntRange(2, 25), default=12, show_default=True, help="Duration.")
def demo(seconds: int) -> None:
    """Wait for six operations on an embedded server.

    One of them fails. Needs no token.
    """
    asyncio.run(run_demo(seconds, Console(highlight=False)))


@commands.command()
@click.option(
    "--operations",
    metavar="N",
    type=click.IntRange(1, 100_000),
    default=6,
    show_default=True,
    help="Number of operations.",
)
@click.option(
    "--seconds", metavar="N", type=click.IntRange(1), default=60, show_default=True, help="Time until all have ended."
)
@click.option("--quota", metavar="N", type=click.IntRange(0), help="Requests per minute; more are answered 429.")
@click.option(
    "--port", metavar="N", type=click.IntRange(0, 65535), default=0, help="Port to listen on.  [default: any free port]"
)
def serve(operations: int, seconds: int, quota: int | None, port: int) -> None:
    """Run a fake service for experiments.

    Prints the command that waits for its operations in another terminal, and runs until Ctrl-C.
    """
    asyncio.run(serve_operations(operations, seconds, quota, port))


@commands.command()
@click.argument("ref", metavar="REF", callback=parse_ref_argument)
@_with_service
def get(ref: OperationRef, base_url: str, token_file: Path | None, *, as_json: bool) -> None:
    """Print the current state of one operation.

    REF is SCHEDULE_ID/OPERATION_ID or the URL of an operation.
    """
    service = Service(read_identity(token_file, base_url), base_url)
    operation = _run(fetch(service, ref), service)
    (_print_json if as_json else _print_line)(operation)
    if operation.is_failed:
        raise CommandError(f"{ref} failed: {failure_reason(operation)}", exit_code=FAILED)


@commands.command(epilog=_WAIT_EPILOG)
@click.argument("refs", metavar="REF...", nargs=-1, callback=parse_ref_arguments)
@_with_service
@click.option("--timeout", metavar="SECONDS", type=float, callback=parse_timeout, help="Give up after this long.")
@click.option(
    "--stall-timeout",
    metavar="SECONDS",
    type=float,
    callback=parse_timeout,
    help="Give up on an operation that has not changed for this long.",
)
@click.option(
    "--checkpoint",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Save progress to FILE and resume from it if it exists; deleted once all operations have ended.",
)
@click.option("--quiet", "-q", is_flag=True, help="Print errors only; with --json, final states too.")
def wait(
    *,
    refs: tuple[OperationRef, ...],
    base_url: str,
    token_file: Path | None,
    timeout: float,
    stall_timeout: float,
    checkpoint: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Wait until operations have ended.

    REF is SCHEDULE_ID/OPERATION_ID or the URL of an operation; - reads REFs from standard input, one per line.
    Displays progress bars on a terminal, and prints a line for each change elsewhere. Timeouts count from the start
    of the command, also if it resumes from a checkpoint.
    """
    service = Service(read_identity(token_file, base_url), base_url)
    saved = None if checkpoint is None else load_checkpoint(checkpoint, refs)
    if not refs and saved is None:
        raise click.UsageError("Missing argument 'REF': an operation, or - to read them from standard input.")
    plan = Checkpoint(
        refs=refs if saved is None else saved.refs,
        saved={} if saved is None else saved.saved,
        is_group=True,
        check=False,
        timeout=timeout,
        stall_timeout=stall_timeout,
    )
    errors = _run(wait_for_all(service, plan, _output(checkpoint, as_json=as_json, quiet=quiet)), service)
    if errors:
        raise to_command_error(errors, service.identity.secrets)


def _output(checkpoint: Path | None, *, as_json: bool, quiet: bool) -> Output:
    console = Console(stderr=True)
    can_draw = not quiet and is_live(console) and sys.stdout.isatty() is not as_json  # never bars and JSON on one
    report: Report = _print_end if quiet else _print_json
    if not as_json:
        report = _print_nothing if quiet or can_draw else _print_line
    return Output(report, console if can_draw else None, checkpoint)


def _print_json(operation: Operation, _: TimeRemaining | None = None) -> None:
    click.echo(operation.to_json())


def _print_line(operation: Operation, remaining: TimeRemaining | None = None) -> None:
    click.echo(f"{printable(str(operation.ref))}: {describe_operation(operation, remaining)}")


def _print_end(operation: Operation, _: TimeRemaining | None) -> None:
    if operation.is_done:
        _print_json(operation)


def _print_nothing(_: Operation, __: TimeRemaining | None) -> None:
    """Print nothing: the bars or the exit code are enough."""


def _run(work: Coroutine[Any, Any, Value], service: Service) -> Value:
    try:
        return asyncio.run(work)
    except (SchedulesError, ValueError, TypeError) as error:
        raise to_command_error([error], service.identity.secrets) from error


def run(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code; each error is printed as a sentence on stderr."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        return _invoke(list(arguments))
    except CommandError as error:
        return _fail(error.sentences, error.exit_code)
    except click.ClickException as error:
        return _fail([error.format_message()], USAGE)
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        return _fail_on_os_error(error)


def _invoke(arguments: list[str]) -> int:
    """Run a command without click's own handling of closed pipes and interrupts."""
    if instruction := os.environ.get(_COMPLETION):
        return shell_complete(commands, {}, _NAME, _COMPLETION, instruction)
    try:
        with commands.make_context(_NAME, arguments) as context:
            commands.invoke(context)
    except click.exceptions.Exit as exited:
        return exited.exit_code
    finally:
        sys.stdout.flush()
    return 0


def _fail(sentences: Sequence[str], exit_code: int) -> int:
    with suppress(OSError):
        for sentence in sentences:
            click.echo(f"{_NAME}: {printable(sentence)}", err=True)
    return exit_code


def _fail_on_os_error(error: OSError) -> int:
    """Return the exit code for output that could not be written, silently if its reader closed the pipe."""
    exit_code = CLOSED_PIPE
    if not isinstance(error, BrokenPipeError):
        exit_code = _fail([f"System error: {error.strerror or error}."], SERVICE_ERROR)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):  # else the last flush of the interpreter fails again, with a message
        os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
    return exit_code
