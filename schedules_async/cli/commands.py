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
    read_identity,
    take_base_url,
    take_ref,
    take_refs,
    take_seconds,
)
from schedules_async.cli.checkpoint_option import load_checkpoint
from schedules_async.cli.demo import play
from schedules_async.cli.exit_codes import (
    CLOSED_PIPE,
    FAILED,
    INTERRUPTED,
    TROUBLE,
    USAGE,
    CommandError,
    as_command_error,
)
from schedules_async.cli.serve_command import play_service
from schedules_async.cli.wait_command import Audience, Report, Service, follow, look
from schedules_async.progress.rich_bars import is_live
from schedules_async.progress.text import describe, printable, spell_failure

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
Tokens, the first of these that is there; never on the command line:
  --token-file PATH
  {TOKEN}
  {CLIENT_ID} and {CLIENT_SECRET}
    (and {TOKEN_URL}, unless the service is dev, QA or production)

\b
Exit codes; of several operations the highest counts:
  0 succeeded            2 usage            4 service or network error
  1 operation failed     3 timed out        130 interrupted by Ctrl-C

\b
Completion by the shell (bash; likewise zsh and fish):
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
        callback=take_base_url,
        show_envvar=True,
        help=f"The service; the token goes to no other host. {DEV.api_url} unless given.",
    ),
    click.option(
        "--token-file",
        metavar="PATH",
        type=click.Path(path_type=Path),
        help=f"Read the token from a file, instead of ${TOKEN} or client credentials.",
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
        raise click.UsageError(f"Say what to do: demo, get, serve or wait ('{_NAME} --help' explains).")


@commands.command()
@click.option("--seconds", metavar="N", type=click.IntRange(2, 25), default=12, show_default=True, help="How long.")
def demo(seconds: int) -> None:
    """Watch six operations on a server of its own.

    One of them fails. Needs no token.
    """
    asyncio.run(play(seconds, Console(highlight=False)))


@commands.command()
@click.option(
    "--operations", metavar="N", type=click.IntRange(1, 100_000), default=6, show_default=True, help="How many."
)
@click.option("--seconds", metavar="N", type=click.IntRange(1), default=60, show_default=True, help="Until all ended.")
@click.option("--quota", metavar="N", type=click.IntRange(0), help="Answer 429 to all but so many requests a minute.")
@click.option("--port", metavar="N", type=click.IntRange(0, 65535), default=0, help="Where to listen; any free port.")
def serve(operations: int, seconds: int, quota: int | None, port: int) -> None:
    """Run a fake service to play with.

    It prints the command that waits for its operations in a second terminal, and goes on until Ctrl-C.
    """
    asyncio.run(play_service(operations, seconds, quota, port))


@commands.command()
@click.argument("ref", metavar="REF", callback=take_ref)
@_with_service
def get(ref: OperationRef, base_url: str, token_file: Path | None, *, as_json: bool) -> None:
    """Look at one operation once.

    REF is SCHEDULE_ID/OPERATION_ID or the URL of an operation.
    """
    service = Service(read_identity(token_file, base_url), base_url)
    operation = _run(look(service, ref), service)
    (_print_json if as_json else _print_line)(operation)
    if operation.is_failed:
        raise CommandError(f"{ref} failed: {spell_failure(operation)}", exit_code=FAILED)


@commands.command(epilog=_WAIT_EPILOG)
@click.argument("refs", metavar="REF...", nargs=-1, callback=take_refs)
@_with_service
@click.option("--timeout", metavar="SECONDS", type=float, callback=take_seconds, help="Give up after so long.")
@click.option(
    "--stall-timeout",
    metavar="SECONDS",
    type=float,
    callback=take_seconds,
    help="Give an operation up that did not change for so long.",
)
@click.option(
    "--checkpoint",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keep the wait in a file, and go on with it where there is one. It goes when all have ended.",
)
@click.option("--quiet", "-q", is_flag=True, help="Say only what went wrong; with --json only how each ended.")
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

    REF is SCHEDULE_ID/OPERATION_ID or the URL of an operation; - stands for such lines on the standard input. On a
    terminal bars show the progress; elsewhere each change is a line. The timeouts count from now, also in a wait
    that goes on from a checkpoint.
    """
    service = Service(read_identity(token_file, base_url), base_url)
    saved = None if checkpoint is None else load_checkpoint(checkpoint, refs)
    if not refs and saved is None:
        raise click.UsageError("Name an operation: REF, or - for lines on the standard input.")
    plan = Checkpoint(
        refs=refs if saved is None else saved.refs,
        seen={} if saved is None else saved.seen,
        is_group=True,
        check=False,
        timeout=timeout,
        stall_timeout=stall_timeout,
    )
    faults = _run(follow(service, plan, _audience(checkpoint, as_json=as_json, quiet=quiet)), service)
    if faults:
        raise as_command_error(faults, service.identity.secrets)


def _audience(checkpoint: Path | None, *, as_json: bool, quiet: bool) -> Audience:
    console = Console(stderr=True)
    can_draw = not quiet and is_live(console) and sys.stdout.isatty() is not as_json  # never both on one terminal
    report: Report = _print_end if quiet else _print_json
    if not as_json:
        report = _print_nothing if quiet or can_draw else _print_line
    return Audience(report, console if can_draw else None, checkpoint)


def _print_json(operation: Operation, _: TimeRemaining | None = None) -> None:
    click.echo(operation.to_json())


def _print_line(operation: Operation, remaining: TimeRemaining | None = None) -> None:
    click.echo(f"{printable(str(operation.ref))}: {describe(operation, remaining)}")


def _print_end(operation: Operation, _: TimeRemaining | None) -> None:
    if operation.is_done:
        _print_json(operation)


def _print_nothing(_: Operation, __: TimeRemaining | None) -> None:
    """Leave it to the bars, or to the exit code."""


def _run(work: Coroutine[Any, Any, Value], service: Service) -> Value:
    try:
        return asyncio.run(work)
    except (SchedulesError, ValueError, TypeError) as error:
        raise as_command_error([error], service.identity.secrets) from error


def run(arguments: Sequence[str]) -> int:
    """Run the command line; give the exit code, with a sentence on stderr for each thing that went wrong."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        return _invoke(list(arguments))
    except CommandError as error:
        return _say(error.sentences, error.exit_code)
    except click.ClickException as error:
        return _say([error.format_message()], USAGE)
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        return _give_up(error)


def _invoke(arguments: list[str]) -> int:
    """Run a command without click's own handling of pipes and interrupts."""
    if wish := os.environ.get(_COMPLETION):
        return shell_complete(commands, {}, _NAME, _COMPLETION, wish)
    try:
        with commands.make_context(_NAME, arguments) as context:
            commands.invoke(context)
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    finally:
        sys.stdout.flush()
    return 0


def _say(sentences: Sequence[str], exit_code: int) -> int:
    with suppress(OSError):
        for sentence in sentences:
            click.echo(f"{_NAME}: {printable(sentence)}", err=True)
    return exit_code


def _give_up(error: OSError) -> int:
    """End after output that could not be written; a closed pipe needs no words."""
    exit_code = CLOSED_PIPE
    if not isinstance(error, BrokenPipeError):
        exit_code = _say([f"Stopped by the system: {error.strerror or error}."], TROUBLE)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):  # else the interpreter's last flush fails again, and says so
        os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
    return exit_code
