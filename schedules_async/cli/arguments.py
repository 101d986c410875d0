"""Arguments and options of the command: operations by ids or URL, durations, the base URL, the token file."""

import math
import re
import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import click
from click.core import ParameterSource
from yarl import URL

from schedules_async import DEV, OperationRef
from schedules_async._http.urls import check_base_url

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_NAMED = re.compile(r"([^/=]+)=(.+)", re.DOTALL)  # an id may contain "=" after the first slash, and so may a URL
_MAX_TOKEN_FILE = 64 * 1024


def parse_targets(context: click.Context, parameter: click.Parameter, texts: Sequence[str]) -> dict[OperationRef, str]:
    """Return the operations that REFs denote, and the name of each, or ""; - denotes the lines of standard input."""
    targets: dict[OperationRef, str] = {}
    for text in chain.from_iterable(read_lines() if text == "-" else [text] for text in texts):
        ref, name = parse_target(context, parameter, text)
        targets[ref] = name or targets.get(ref, "")
    return targets


def parse_target(context: click.Context, _: click.Parameter, text: str) -> tuple[OperationRef, str]:
    """Return the operation that a REF denotes, and the NAME before it, or ""; raise a usage error for other text.

    A REF that is a URL of another service than that of the base URL is a usage error, unless --base-url decides.
    """
    named = _NAMED.fullmatch(text)
    name, place = ("", text.strip()) if named is None else (named[1].strip(), named[2].strip())
    if place.count("/") != 1 and "://" not in place:
        raise click.BadParameter(f"{place!r} is neither SCHEDULE_ID/OPERATION_ID nor the URL of an operation.")
    try:
        ref = OperationRef.parse(place)
        host = URL(place).host_port_subcomponent if "://" in place else None
    except ValueError as error:  # of which click 8.1 would report the argument alone
        shown = re.sub("//.*@", "//", text)
        raise click.BadParameter(str(error).replace("base_url", repr(shown), 1)) from error
    base_url, source = context.params["base_url"], context.get_parameter_source("base_url")
    if host not in (None, base_url.host_port_subcomponent) and source is not ParameterSource.COMMANDLINE:
        sentence = f"REF is a URL of {host}, but the service is {base_url}: choose one with --base-url URL."
        raise click.UsageError(sentence)
    return ref, name


def read_lines() -> list[str]:
    """Return the lines of standard input without empty lines and comments; raise a usage error unless it is UTF-8."""
    if sys.stdin is None:
        raise click.BadParameter("standard input is closed")
    data = sys.stdin.buffer.read()
    if b"\0" in data:
        raise click.BadParameter("standard input is UTF-16 text: convert it to UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise click.BadParameter("standard input is not UTF-8 text") from error
    return [line for line in map(str.strip, text.split("\n")) if line and not line.startswith("#")]


def parse_base_url(text: str) -> URL:
    """Return the base URL, or that of DEV if it is empty; raise a usage error, without a login, if it is unusable."""
    try:
        return URL(check_base_url(text.strip() or DEV.api_url))
    except ValueError as error:
        shown = re.sub("//.*@", "//", text)
        raise click.BadParameter(str(error).replace("base_url", repr(shown), 1)) from error


def read_token_file(_: click.Context, __: click.Parameter, path: Path | None) -> str | None:
    """Return the token in a file, None without a path; raise a usage error if the file contains no token."""
    if path is None:
        return None
    try:
        with path.open(encoding="utf-8-sig") as file:
            token = file.read(_MAX_TOKEN_FILE).strip()
    except (OSError, ValueError) as error:
        reason = f"cannot be read: {error.strerror}" if isinstance(error, OSError) else "is not a text file"
        raise click.UsageError(f"The token file {path} {reason}.") from error
    if not token:
        raise click.UsageError(f"The token file {path} is empty.")
    return token


def parse_duration(text: str) -> float:
    """Return the seconds of a number, with a unit or without (90s, 10m, 2h, 1d); raise a usage error for other text."""
    number, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS else (text, "s")
    try:
        seconds = float(number) * _UNITS[unit]
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not a duration such as 90, 90s, 10m, 2h or 1d.") from error
    if math.isnan(seconds) or seconds < 0:
        raise click.BadParameter(f"a duration must be at least 0, not {text}")
    return seconds
