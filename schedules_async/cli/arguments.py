"""What the command line takes: operations by name or URL, and a token that never stands on it."""

import os
from pathlib import Path
from urllib.parse import urlsplit

import click

from schedules_async import DEV, OperationRef

VARIABLE = "SCHEDULES_TOKEN"
_NAMED_HOST = "schedules_async.named_host"
_LONGEST_TOKEN_FILE = 64 * 1024


def take_ref(context: click.Context, _: click.Parameter, text: str) -> OperationRef:
    """Read the argument REF; anything that names no operation is a usage error."""
    try:
        ref = read_ref(text.strip())
        context.meta[_NAMED_HOST] = urlsplit(text.strip()).hostname
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    return ref


def take_base_url(context: click.Context, _: click.Parameter, url: str | None) -> str:
    """Give the service to ask: the one that was given, or DEV, unless REF is the URL of another (a usage error)."""
    named = context.meta.get(_NAMED_HOST)
    if url is None and named not in (None, urlsplit(DEV.api_url).hostname):
        raise click.UsageError(f"REF is a URL of {named}, the service is {DEV.api_url}: say which with --base-url URL.")
    return url or DEV.api_url


def read_ref(text: str) -> OperationRef:
    """Read SCHEDULE_ID/OPERATION_ID, or a URL, of which only the ids are taken; ValueError for anything else."""
    if "://" in text:
        return OperationRef.from_url(text)
    schedule_id, _, operation_id = text.partition("/")
    if not schedule_id or not operation_id or "/" in operation_id:
        raise ValueError(f"{text!r} is neither SCHEDULE_ID/OPERATION_ID nor the URL of an operation.")
    return OperationRef(schedule_id, operation_id)


def read_token(path: Path | None) -> str:
    """Give the token of a file, or else of the environment; a usage error where there is none."""
    token = os.environ.get(VARIABLE, "") if path is None else _read_token_file(path)
    if not token.strip():
        where = f"in ${VARIABLE}" if path is None else f"in the file {path}"
        raise click.UsageError(f"There is no token {where}: set ${VARIABLE} or use --token-file PATH.")
    return token.strip()


def _read_token_file(path: Path) -> str:
    try:
        with path.open(encoding="utf-8-sig") as file:
            return file.read(_LONGEST_TOKEN_FILE)
    except OSError as error:
        raise click.UsageError(f"The token file {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise click.UsageError(f"The token file {path} does not hold text.") from error
