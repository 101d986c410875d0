"""Arguments and options of the command: operations by ids or URL, durations, the base URL, the token file."""

import codecs
import math
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import click
from attrs import frozen

from schedules_async import DEV, OperationRef

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_NAMED = re.compile(r"([^/=]+)=(.+)", re.DOTALL)  # an id may contain "=" behind the first slash, and so may a URL
_DEFAULT_PORTS = (None, 80, 443)
_MAX_TOKEN_FILE = 64 * 1024


@frozen
class Target:
    """An operation that REF names: the name that precedes it, if any, and the host of its URL, None for ids."""

    ref: OperationRef
    name: str | None = None
    host: str | None = None

    @property
    def label(self) -> str:
        """The name, or else the ids."""
        return self.name or str(self.ref)


def parse_target_argument(context: click.Context, parameter: click.Parameter, text: str) -> Target:
    """Return the operation that REF names; a usage error if it names none."""
    return parse_target_arguments(context, parameter, (text,))[0]


def parse_target_arguments(_: click.Context, __: click.Parameter, texts: Iterable[str]) -> tuple[Target, ...]:
    """Return the operations that the REFs name, with the lines of standard input in place of -."""
    try:
        return tuple(parse_target(text) for text in _with_input(texts))
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _with_input(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        if text == "-":
            yield from read_lines()
        else:
            yield text


def read_lines() -> list[str]:
    """Return the lines of standard input, except empty ones and those that begin with #; ValueError unless UTF-8."""
    if sys.stdin is None:
        raise ValueError("standard input is closed")
    data = sys.stdin.buffer.read()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in data:
        raise ValueError("standard input is UTF-16 text: convert it to UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError("standard input is not UTF-8 text") from error
    lines = [line.strip() for line in text.split("\n")]
    return [line for line in lines if line and not line.startswith("#")]


def parse_target(text: str) -> Target:
    """Parse SCHEDULE_ID/OPERATION_ID or a URL, with NAME= before it or not; raise ValueError for other text."""
    text = text.strip()
    named = _NAMED.fullmatch(text)
    name, place = (named[1].strip(), named[2].strip()) if named is not None else (None, text)
    return Target(parse_ref(place), name, find_host(place) if "://" in place else None)


def parse_ref(text: str) -> OperationRef:
    """Parse SCHEDULE_ID/OPERATION_ID, or a URL, of which only the ids are used; raise ValueError for other text."""
    if "://" in text:
        return OperationRef.from_url(text)
    schedule_id, _, operation_id = text.partition("/")
    if not schedule_id or not operation_id or "/" in operation_id:
        raise ValueError(f"{text!r} is neither SCHEDULE_ID/OPERATION_ID nor the URL of an operation.")
    return OperationRef(schedule_id, operation_id)


def find_host(url: str) -> str | None:
    """Return the host of a URL, with its port unless it is the default one of http or https."""
    parts = urlsplit(url)
    return parts.hostname if parts.port in _DEFAULT_PORTS else f"{parts.hostname}:{parts.port}"


def parse_base_url(_: click.Context, __: click.Parameter, url: str | None) -> str:
    """Return the base URL, by default that of DEV; a usage error if it is no URL."""
    try:
        find_host(url or "")
    except ValueError as error:
        raise click.BadParameter(f"{url!r} is not a URL: {error}") from error
    return url or DEV.api_url


def read_token_file(_: click.Context, __: click.Parameter, path: Path | None) -> str | None:
    """Return the token in a file; a usage error if it contains none."""
    if path is None:
        return None
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


def check_hosts(targets: Iterable[Target], base_url: str) -> None:
    """Raise a usage error if a REF is a URL of another service than the one that is asked."""
    asked = find_host(base_url)
    for target in targets:
        if target.host not in (None, asked):
            raise click.UsageError(
                f"REF is a URL of {target.host}, but the service is {base_url}: choose one with --base-url URL."
            )


def find_names(targets: Iterable[Target]) -> Mapping[OperationRef, str]:
    """Return the names of the operations that have one."""
    return {target.ref: target.name for target in targets if target.name is not None}


def parse_duration(_: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
    """Return a duration in seconds: a number, or one with a unit as in 90s, 10m, 2h or 1d; a usage error for others."""
    if text is None:
        return None
    number, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS else (text, "s")
    try:
        seconds = float(number) * _UNITS[unit]
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not a duration such as 90, 90s, 10m, 2h or 1d.") from error
    if math.isnan(seconds) or seconds < 0:
        name = (parameter.name or "").replace("_", " ")
        raise click.BadParameter(f"the {name} must be at least 0, not {text}")
    return seconds
