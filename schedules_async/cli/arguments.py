"""Arguments of the command: operations by ids or URL, the service, and credentials, which never come from arguments."""

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
_MAX_TOKEN_FILE = 64 * 1024
_TOKEN_URLS = {urlsplit(each.api_url).hostname: each.token_url for each in (DEV, QA, PRODUCTION)}


def parse_ref_argument(context: click.Context, parameter: click.Parameter, text: str) -> OperationRef:
    """Return the operation that REF names; a usage error if it names none."""
    return parse_ref_arguments(context, parameter, (text,))[0]


def parse_ref_arguments(context: click.Context, _: click.Parameter, texts: Iterable[str]) -> tuple[OperationRef, ...]:
    """Return the operations that the REFs name, with the lines of standard input in place of -."""
    try:
        stripped = [text.strip() for text in _with_input(texts)]
        refs = tuple(parse_ref(text) for text in stripped)
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


def resolve_base_url(context: click.Context, _: click.Parameter, url: str | None) -> str:
    """Return the given base URL, or else that of DEV; a usage error if a REF is then the URL of another service."""
    known = (None, urlsplit(DEV.api_url).hostname)
    others = [named for named in context.meta.get(_NAMED_HOSTS, ()) if named not in known]
    if url is None and others:
        raise click.UsageError(
            f"REF is a URL of {others[0]}, but the service is {DEV.api_url}: choose one with --base-url URL."
        )
    return url or DEV.api_url


def parse_timeout(_: click.Context, __: click.Parameter, seconds: float | None) -> float:
    """Return a timeout in seconds, infinite by default; a usage error if it is negative or not a number."""
    if seconds is None:
        return math.inf
    if math.isnan(seconds) or seconds < 0:
        raise click.BadParameter(f"a timeout must be at least 0, not {seconds:g}")
    return seconds


def parse_ref(text: str) -> OperationRef:
    """Parse SCHEDULE_ID/OPERATION_ID, or a URL, of which only the ids are used; raise ValueError for other text."""
    if "://" in text:
        return OperationRef.from_url(text)
    schedule_id, _, operation_id = text.partition("/")
    if not schedule_id or not operation_id or "/" in operation_id:
        raise ValueError(f"{text!r} is neither SCHEDULE_ID/OPERATION_ID nor the URL of an operation.")
    return OperationRef(schedule_id, operation_id)


@frozen
class Identity:
    """The `auth` argument of a session, and the secrets in it, which are redacted in all output."""

    auth: str | ClientCredentials = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)


def read_identity(token_file: Path | None, base_url: str) -> Identity:
    """Return the token of the file, or else of the environment, or else client credentials; a usage error if none."""
    token = os.environ.get(TOKEN, "").strip() if token_file is None else _read_token_file(token_file)
    if token:
        return Identity(token, (token,))
    client_id, secret = os.environ.get(CLIENT_ID, ""), os.environ.get(CLIENT_SECRET, "")
    if not client_id and not secret:
        raise click.UsageError(
            f"No token: set ${TOKEN}, use --token-file PATH, or set ${CLIENT_ID} and ${CLIENT_SECRET}."
        )
    if not client_id or not secret:
        raise click.UsageError(f"${CLIENT_ID} and ${CLIENT_SECRET} must both be set.")
    try:
        credentials = ClientCredentials(client_id, secret, token_url=_find_token_url(base_url))
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    return Identity(credentials, (secret,))


def _find_token_url(base_url: str) -> str:
    """Return the token endpoint that the environment names, or else that of a known service."""
    url = os.environ.get(TOKEN_URL) or _TOKEN_URLS.get(urlsplit(base_url).hostname)
    if url is None:
        raise click.UsageError(f"The identity server of {base_url} is unknown: set ${TOKEN_URL}.")
    return url


def _read_token_file(path: Path) -> str:
    try:
        with path.open(encoding="utf-8-sig") as file:
            token = file.read(_MAX_TOKEN_FILE).strip()
    except OSError as error:
        raise click.UsageError(f"The token file {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise click.UsageError(f"The token file {path} is not a text file.") from error
    if not token:
        raise click.UsageError(f"The token file {path} is empty.")
    return token
