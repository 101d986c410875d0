"""What the command line takes: operations by name or URL, and tokens and secrets that never stand on it."""

import math
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import click
from attrs import field, frozen

from schedules_async import DEV, PRODUCTION, QA, ClientCredentials, OperationRef

TOKEN, CLIENT_ID, CLIENT_SECRET = "SCHEDULES_TOKEN", "SCHEDULES_CLIENT_ID", "SCHEDULES_CLIENT_SECRET"
TOKEN_URL, BASE_URL = "SCHEDULES_TOKEN_URL", "SCHEDULES_BASE_URL"
_NAMED_HOSTS = "schedules_async.named_hosts"
_LONGEST_TOKEN_FILE = 64 * 1024
_TOKEN_URLS = {urlsplit(each.api_url).hostname: each.token_url for each in (DEV, QA, PRODUCTION)}


def take_ref(context: click.Context, parameter: click.Parameter, text: str) -> OperationRef:
    """Read the argument REF; anything that names no operation is a usage error."""
    return take_refs(context, parameter, (text,))[0]


def take_refs(context: click.Context, _: click.Parameter, texts: Iterable[str]) -> tuple[OperationRef, ...]:
    """Read arguments REF, and for - the lines of the standard input; what names no operation is a usage error."""
    try:
        stripped = [text.strip() for text in _with_input(texts)]
        refs = tuple(read_ref(text) for text in stripped)
        context.meta[_NAMED_HOSTS] = [urlsplit(text).hostname for text in stripped]
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    return refs


def _with_input(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        if text == "-":
            yield from (line for line in sys.stdin if line.strip())
        else:
            yield text


def take_base_url(context: click.Context, _: click.Parameter, url: str | None) -> str:
    """Give the service to ask: the one that was given, or DEV, unless a REF is the URL of another (a usage error)."""
    known = (None, urlsplit(DEV.api_url).hostname)
    others = [named for named in context.meta.get(_NAMED_HOSTS, ()) if named not in known]
    if url is None and others:
        raise click.UsageError(
            f"REF is a URL of {others[0]}, the service is {DEV.api_url}: say which with --base-url URL."
        )
    return url or DEV.api_url


def take_seconds(_: click.Context, __: click.Parameter, seconds: float | None) -> float:
    """Read a timeout, infinite where none is given; below 0 it is a usage error."""
    if seconds is None:
        return math.inf
    if math.isnan(seconds) or seconds < 0:
        raise click.BadParameter(f"a timeout must not be below 0, and is {seconds:g}")
    return seconds


def read_ref(text: str) -> OperationRef:
    """Read SCHEDULE_ID/OPERATION_ID, or a URL, of which only the ids are taken; ValueError for anything else."""
    if "://" in text:
        return OperationRef.from_url(text)
    schedule_id, _, operation_id = text.partition("/")
    if not schedule_id or not operation_id or "/" in operation_id:
        raise ValueError(f"{text!r} is neither SCHEDULE_ID/OPERATION_ID nor the URL of an operation.")
    return OperationRef(schedule_id, operation_id)


@frozen
class Identity:
    """As whom to ask: what a session takes as `auth`, and the secrets in it, to be left out of everything said."""

    auth: str | ClientCredentials = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)


def read_identity(token_file: Path | None, base_url: str) -> Identity:
    """Take the token of a file, or else of the environment, or else client credentials; a usage error without any."""
    token = os.environ.get(TOKEN, "").strip() if token_file is None else _read_token_file(token_file)
    if token:
        return Identity(token, (token,))
    client_id, secret = os.environ.get(CLIENT_ID, ""), os.environ.get(CLIENT_SECRET, "")
    if not client_id and not secret:
        raise click.UsageError(
            f"There is no token: set ${TOKEN}, use --token-file PATH, or set ${CLIENT_ID} and ${CLIENT_SECRET}."
        )
    if not client_id or not secret:
        raise click.UsageError(f"Of ${CLIENT_ID} and ${CLIENT_SECRET} only one is set.")
    try:
        credentials = ClientCredentials(client_id, secret, token_url=_find_token_url(base_url))
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    return Identity(credentials, (secret,))


def _find_token_url(base_url: str) -> str:
    """Give the token endpoint of the environment, or else the one that belongs to a service that is known."""
    url = os.environ.get(TOKEN_URL) or _TOKEN_URLS.get(urlsplit(base_url).hostname)
    if url is None:
        raise click.UsageError(f"Which identity server belongs to {base_url} is not known: set ${TOKEN_URL}.")
    return url


def _read_token_file(path: Path) -> str:
    try:
        with path.open(encoding="utf-8-sig") as file:
            token = file.read(_LONGEST_TOKEN_FILE).strip()
    except OSError as error:
        raise click.UsageError(f"The token file {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise click.UsageError(f"The token file {path} does not hold text.") from error
    if not token:
        raise click.UsageError(f"There is no token in the file {path}.")
    return token
