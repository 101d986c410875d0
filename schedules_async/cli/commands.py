"""The commands and their options, and how the process exits."""

import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource
from click.shell_completion import shell_complete
from rich.console import Console

from schedules_async import DEV, PRODUCTION, CheckpointFile, OperationRef, RetryPolicy, SchedulesError, __version__
from schedules_async._auth.variables import BASE_URL, CLIENT_ID, CLIENT_SECRET, TOKEN, TOKEN_URL
from schedules_async._waiters.checkpoint import Checkpoint
from schedules_async.cli.arguments import (
    Target,
    check_hosts,
    find_names,
    parse_base_url,
    parse_duration,
    parse_target,
    parse_targets,
    read_token_file,
)
from schedules_async.cli.demo import run_demo, serve_operations
from schedules_async.cli.interrupts import EndedBySignalError, run_until_signal
from schedules_async.cli.reports import (
    CLOSED_PIPE,
    INTERRUPTED,
    SERVICE_ERROR,
    USAGE,
    CommandError,
    JsonLines,
    Lines,
    Names,
    Report,
    to_command_error,
)
from schedules_async.cli.service import Service
from schedules_async.cli.streams import discard_output, logging_to_stderr, usable_streams
from schedules_async.cli.wait_command import Output, fetch, load_checkpoint, wait_for_all
from schedules_async.progress.rich_bars import is_live
from schedules_async.progress.text import printable

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
Proxies and certificates:
  HTTPS_PROXY, NO_PROXY, SSL_CERT_FILE

\b
Exit codes; with several operations, the highest applies:
  0 succeeded            2 usage error      4 service or network error
  1 operation failed     3 timed out        130 interrupted (Ctrl-C)
  129, 143 ended by SIGHUP or SIGTERM

\b
Shell completion (bash; similarly for zsh and fish):
  eval "$({_COMPLETION}=bash_source {_NAME})"
"""
_WAIT_EPILOG = f"""\b
Examples:
  schedules-async wait SCHEDULE_ID/OPERATION_ID SCHEDULE_ID/ANOTHER_ID --timeout 10m
  schedules-async wait import=SCHEDULE_ID/OPERATION_ID export=SCHEDULE_ID/ANOTHER_ID
  schedules-async wait --json --quiet {DEV.api_url}/schedules/SCHEDULE_ID/operations/OPERATION_ID
  schedules-async wait --checkpoint import.json - < operations.txt
"""
_SERVICE_OPTIONS = (
    click.option(
        "--base-url",
        metavar="URL",
        type=parse_base_url,
        envvar=BASE_URL,
        show_envvar=True,
        default=DEV.api_url,
        show_default=True,
        help="Base URL of the service; the token is sent to this host only.",
    ),
    click.option(
        "--token-file",
        "token",
        metavar="PATH",
        type=click.Path(path_type=Path),
        callback=read_token_file,
        help=f"Read the token from a file instead of ${TOKEN} or client credentials.",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print JSON, one object per line."),
    click.option("--verbose", "-v", "is_verbose", is_flag=True, help="Write a log of all requests to stderr."),
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
    with logging_to_stderr(is_verbose=False):
        run_until_signal(run_demo(seconds, Console(highlight=False)))


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
@click.option("--quota", metavar="N", type=click.IntRange(0), help="Allowed requests per minute; others get a 429.")
@click.option("--host", metavar="HOST", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", metavar="N", type=click.IntRange(0, 65535), default=0, help="Port to listen on.  [default: any free port]"
)
def serve(operations: int, seconds: int, quota: int | None, host: str, port: int) -> None:
    """Run a fake service for experiments.

    Prints a command that waits for its operations, to be run in another terminal. Runs until Ctrl-C.
    """
    run_until_signal(serve_operations(operations, seconds, quota, host, port))


@commands.command()
@click.argument("target", metavar="REF", type=parse_target)
@_with_service
def get(target: Target, base_url: str, token: str | None, *, as_json: bool, is_verbose: bool) -> None:
    """Print the current state of one operation.

    REF is SCHEDULE_ID/OPERATION_ID or the URL of an operation; NAME=REF prints NAME in place of the ids.
    """
    service, names = _make_service([target], base_url, token), find_names([target])
    report = JsonLines(names, service.secrets) if as_json else Lines(names)
    _run(fetch(service, target.ref, report), service, names, is_verbose=is_verbose)


@commands.command(epilog=_WAIT_EPILOG)
@click.argument("targets", metavar="REF...", nargs=-1, callback=parse_targets)
@_with_service
@click.option("--timeout", metavar="DURATION", type=parse_duration, default="inf", help="Give up after this long.")
@click.option(
    "--stall-timeout",
    metavar="DURATION",
    type=parse_duration,
    default="inf",
    help="Give up on an operation that has not changed for this long.",
)
@click.option(
    "--max-outage",
    metavar="DURATION",
    type=parse_duration,
    default="5m",
    show_default=True,
    help="Give up on an operation that could not be fetched for this long.",
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
    targets: tuple[Target, ...],
    base_url: str,
    token: str | None,
    timeout: float,
    stall_timeout: float,
    max_outage: float,
    checkpoint: Path | None,
    as_json: bool,
    quiet: bool,
    is_verbose: bool,
) -> None:
    """Wait until operations have ended.

    REF is SCHEDULE_ID/OPERATION_ID or the URL of an operation; NAME=REF displays NAME in place of the ids; - reads
    REFs from standard input, one per line; empty lines and lines that begin with # are ignored.
    Displays progress bars on a terminal, and prints a line for each change elsewhere. DURATION is a number of seconds,
    or a number with a unit, as in 90s, 10m, 2h or 1d. Timeouts count from the start of the command, even if it resumes
    from a checkpoint.
    """
    file = None if checkpoint is None else CheckpointFile(checkpoint)
    plan = _make_plan([target.ref for target in targets], file, timeout, stall_timeout)
    service, names = _make_service(targets, base_url, token, max_outage), find_names(targets)
    output = _make_output(names, service.secrets, file, as_json=as_json, quiet=quiet)
    try:
        _run(wait_for_all(service, plan, output), service, names, is_verbose=is_verbose)
    except EndedBySignalError as ended:
        raise CommandError(_how_to_resume(file), exit_code=ended.exit_code) from ended


def _make_plan(
    refs: Sequence[OperationRef], file: CheckpointFile | None, timeout: float, stall_timeout: float
) -> Checkpoint:
    """Return the wait that a checkpoint file has saved, or else a new one for the operations."""
    saved = None if file is None else load_checkpoint(file, refs)
    if not refs and saved is None:
        raise click.UsageError("Missing argument 'REF': an operation, or - to read them from standard input.")
    return Checkpoint(
        refs=tuple(refs) if saved is None else saved.refs,
        saved={} if saved is None else saved.saved,
        is_group=True,
        check=False,
        timeout=timeout,
        stall_timeout=stall_timeout,
    )


def _make_output(
    names: Names, secrets: tuple[str, ...], file: CheckpointFile | None, *, as_json: bool, quiet: bool
) -> Output:
    console = Console(stderr=True)
    has_bars = not quiet and is_live(console) and sys.stdout.isatty() is not as_json  # JSON on a terminal excludes bars
    report = Report() if quiet or has_bars else Lines(names)
    if as_json:
        report = JsonLines(names, secrets, is_final_only=quiet)
    return Output(report, names, console if has_bars else None, file)


def _how_to_resume(file: CheckpointFile | None) -> str:
    resume = "keep waiting" if file is None else f"resume from {file.path}"
    return f"Interrupted. The operations continue on the service; run the same command again to {resume}."


def _make_service(
    targets: Sequence[Target], base_url: str, token: str | None, max_outage: float | None = None
) -> Service:
    """Return the service; raise a usage error if a REF is a URL of another one and --base-url does not decide."""
    if click.get_current_context().get_parameter_source("base_url") is not ParameterSource.COMMANDLINE:
        check_hosts(targets, base_url)
    retry = RetryPolicy() if max_outage is None else RetryPolicy(max_outage=max_outage)
    return Service(base_url, token, retry)


def _run(work: Coroutine[Any, Any, list[Exception]], service: Service, names: Names, *, is_verbose: bool) -> None:
    """Run the work of a command; raise a CommandError for the errors that it returns or raises."""
    try:
        with logging_to_stderr(is_verbose=is_verbose):
            errors = run_until_signal(work)
    except (SchedulesError, ValueError, TypeError) as error:
        errors = [error]
    if errors:
        raise to_command_error(errors, service.secrets, names)


def run(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code; each error is printed as a sentence on stderr."""
    with usable_streams():
        try:
            exit_code = _run_command(list(arguments))
        except KeyboardInterrupt:  # for instance a second Ctrl-C while an error is printed
            exit_code = INTERRUPTED
        try:
            sys.stdout.flush()
        except OSError as error:
            return max(exit_code, _fail_on_os_error(error))
        return exit_code


def _run_command(arguments: list[str]) -> int:
    try:
        return _invoke(arguments)
    except CommandError as error:
        return _fail(error.sentences, error.exit_code)
    except click.ClickException as error:
        return _fail([error.format_message()], USAGE)
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
    return 0


def _fail(sentences: Sequence[str], exit_code: int) -> int:
    try:
        for sentence in sentences:
            click.echo(f"{_NAME}: {printable(sentence)}", err=True)
    except OSError:
        discard_output()
    return exit_code


def _fail_on_os_error(error: OSError) -> int:
    """Return the exit code for output that cannot be written; print an error unless the reader closed the pipe."""
    exit_code = CLOSED_PIPE
    if not isinstance(error, BrokenPipeError):
        exit_code = _fail([f"System error: {error.strerror or error}."], SERVICE_ERROR)
    discard_output()
    return exit_code
