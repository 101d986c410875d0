"""The commands and their options, and how the process exits."""

import os
import sys
from collections.abc import Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
from click.shell_completion import shell_complete
from rich.console import Console
from yarl import URL

from schedules_async import DEV, PRODUCTION, CheckpointFile, OperationRef, RetryPolicy, SchedulesError, __version__
from schedules_async._auth.variables import BASE_URL, CLIENT_ID, CLIENT_SECRET, TOKEN, TOKEN_URL
from schedules_async.cli import arguments, reports
from schedules_async.cli.client import fetch, make_plan, open_session, wait_for_all
from schedules_async.cli.demo import run_demo, serve_operations
from schedules_async.cli.process import discard_output, run_until_signal, usable_streams
from schedules_async.cli.reports import NAME, JsonLines, Lines, Names
from schedules_async.errors import OperationGroupError
from schedules_async.progress.rich_bars import is_live

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
  eval "$({_COMPLETION}=bash_source {NAME})"
"""
_WAIT_EPILOG = f"""\b
Examples:
  schedules-async wait SCHEDULE_ID/OPERATION_ID SCHEDULE_ID/ANOTHER_ID --timeout 10m
  schedules-async wait import=SCHEDULE_ID/OPERATION_ID export=SCHEDULE_ID/ANOTHER_ID
  schedules-async wait --json --quiet {DEV.api_url}/schedules/SCHEDULE_ID/operations/OPERATION_ID
  schedules-async wait --checkpoint import.json - < operations.txt
"""
_SERVICE_OPTIONS = (
    click.Option(
        ["--base-url"],
        metavar="URL",
        type=arguments.parse_base_url,
        envvar=BASE_URL,
        show_envvar=True,
        default=DEV.api_url,
        is_eager=True,  # read before any REF, whose host must be the same
        help="Base URL of the service; the token is sent to this host only.",
    ),
    click.Option(
        ["--token-file", "token"],
        type=click.Path(path_type=Path),
        callback=arguments.read_token_file,
        help=f"Read the token from a file instead of ${TOKEN} or client credentials.",
    ),
    click.Option(["--json", "as_json"], is_flag=True, help="Print JSON, one object per line."),
    click.Option(["--verbose", "-v", "is_verbose"], is_flag=True, help="Write a log of all requests to stderr."),
)
_limit = partial(click.Option, metavar="DURATION", type=arguments.parse_duration, default="inf", show_default=False)
_WAIT_OPTIONS = (
    _limit(["--timeout"], help="Give up after this long."),
    _limit(["--stall-timeout"], help="Give up on an operation that has not changed for this long."),
    _limit(
        ["--max-outage"],
        default="5m",
        show_default=True,
        help="Give up on an operation that could not be fetched for this long.",
    ),
    click.Option(
        ["--checkpoint"],
        type=click.Path(dir_okay=False, path_type=CheckpointFile),
        help="Save progress to FILE and resume from it if it exists; deleted once all operations have ended.",
    ),
    click.Option(["--quiet", "-q"], is_flag=True, help="Print errors only; with --json, final states too."),
)


@click.group(
    invoke_without_command=True,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
)
@click.version_option(__version__, prog_name=NAME)
@click.pass_context
def commands(context: click.Context) -> None:
    """Wait for long-running operations of Bentley's iTwin Platform."""
    if context.invoked_subcommand is None:
        raise click.UsageError(f"Missing command: demo, get, serve or wait (see '{NAME} --help').")


@commands.command()
@click.option("--seconds", metavar="N", type=click.IntRange(2, 25), default=12, help="Duration.")
def demo(seconds: int) -> None:
    """Wait for six operations on an embedded server.

    One of them fails. Needs no token.
    """
    run_until_signal(run_demo(seconds, Console(highlight=False)))


@commands.command()
@click.option("--operations", metavar="N", type=click.IntRange(1, 100_000), default=6, help="Number of operations.")
@click.option("--seconds", metavar="N", type=click.IntRange(1, 10**9), default=60, help="Time until all have ended.")
@click.option("--quota", metavar="N", type=click.IntRange(0), help="Allowed requests per minute; others get a 429.")
@click.option("--host", metavar="HOST", default="127.0.0.1", help="Address to listen on.")
@click.option(
    "--port", metavar="N", type=click.IntRange(0, 65535), default=0, show_default="any free", help="Port to listen on."
)
def serve(operations: int, seconds: int, quota: int | None, host: str, port: int) -> None:
    """Run a fake service for experiments.

    Prints a command that waits for its operations, to be run in another terminal. Runs until Ctrl-C.
    """
    run_until_signal(serve_operations(operations, seconds, quota, host, port))


@commands.command(params=[*_SERVICE_OPTIONS])
@click.argument("target", metavar="REF", callback=arguments.parse_target)
def get(target: tuple[OperationRef, str], base_url: URL, token: str | None, *, as_json: bool, is_verbose: bool) -> int:
    """Print the current state of one operation.

    REF is SCHEDULE_ID/OPERATION_ID or the URL of an operation; NAME=REF prints NAME in place of the ids.
    """
    report = (JsonLines if as_json else Lines)(dict([target]), token)
    opening = open_session(base_url, token, RetryPolicy())
    return _run(fetch(opening, target[0], report), report, is_verbose=is_verbose)


@commands.command(epilog=_WAIT_EPILOG, params=[*_SERVICE_OPTIONS, *_WAIT_OPTIONS])
@click.argument("names", metavar="REF...", nargs=-1, callback=arguments.parse_targets)
def wait(
    *,
    names: Names,
    base_url: URL,
    token: str | None,
    timeout: float,
    stall_timeout: float,
    max_outage: float,
    checkpoint: CheckpointFile | None,
    as_json: bool,
    quiet: bool,
    is_verbose: bool,
) -> int:
    """Wait until operations have ended.

    REF is SCHEDULE_ID/OPERATION_ID or the URL of an operation; NAME=REF displays NAME in place of the ids; - reads
    REFs from standard input, one per line; empty lines and lines that begin with # are ignored.
    Displays progress bars on a terminal, and prints a line for each change elsewhere. DURATION is a number of seconds,
    or a number with a unit, as in 90s, 10m, 2h or 1d. Timeouts count from the start of the command, even if it resumes
    from a checkpoint.
    """
    plan = make_plan(names, checkpoint, timeout, stall_timeout)
    console = Console(stderr=True)
    has_bars = not quiet and is_live(console) and sys.stdout.isatty() is not as_json  # JSON on a terminal excludes bars
    report = (JsonLines if as_json else Lines)(names, token, quiet or (has_bars and not as_json))
    opening = open_session(base_url, token, RetryPolicy(max_outage=max_outage), report.on_event)
    work = wait_for_all(opening, plan, report, console if has_bars else None, checkpoint)
    try:
        return _run(work, report, is_verbose=is_verbose)
    except click.exceptions.Exit as ended:
        resume = "keep waiting" if checkpoint is None else f"resume from {checkpoint.path}"
        sentence = f"The operations continue on the service; run the same command again to {resume}."
        return _fail([f"Interrupted. {sentence}"], ended.exit_code)


def _run(work: Coroutine[Any, Any, None], report: Lines, *, is_verbose: bool) -> int:
    """Run the work of a command; report the errors that it raises, and return the exit code."""
    errors: Sequence[Exception] = ()
    try:
        run_until_signal(work, is_verbose=is_verbose)
    except OperationGroupError as group:
        errors = group.exceptions
    except (SchedulesError, ValueError, TypeError) as error:
        errors = (error,)
    return _fail(report.describe(errors), reports.find_exit_code(errors))


def run(words: Sequence[str]) -> int:
    """Run the command and return its exit code; each error is printed as a sentence on stderr."""
    exit_code = 0
    with usable_streams():
        try:
            exit_code = _run_command(list(words))
            sys.stdout.flush()
        except KeyboardInterrupt:  # for instance a second Ctrl-C while an error is printed
            exit_code = reports.INTERRUPTED
        except BrokenPipeError:
            exit_code = max(exit_code, reports.CLOSED_PIPE)
            discard_output()
        except OSError as error:
            exit_code = max(exit_code, _fail([f"System error: {error.strerror or error}."], reports.SERVICE_ERROR))
            discard_output()
    return exit_code


def _run_command(words: list[str]) -> int:
    """Run a command without click's own handling of closed pipes and interrupts."""
    if instruction := os.environ.get(_COMPLETION):
        return shell_complete(commands, {}, NAME, _COMPLETION, instruction)
    try:
        with commands.make_context(NAME, words) as context:
            return commands.invoke(context) or 0
    except click.exceptions.Exit as exited:
        return exited.exit_code
    except click.ClickException as error:
        return _fail([error.format_message()], error.exit_code)


def _fail(sentences: Sequence[str], exit_code: int) -> int:
    for sentence in sentences:
        reports.print_error(sentence)
    return exit_code
