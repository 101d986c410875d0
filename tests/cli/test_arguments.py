import io
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import pytest
from click.core import ParameterSource
from yarl import URL

from schedules_async import DEV, OperationRef
from schedules_async.cli.arguments import parse_base_url, parse_duration, parse_target, parse_targets, read_token_file

CONTEXT, OPTION = click.Context(click.Command("wait")), click.Option(["--token-file"])


def context_of(base_url: str, source: ParameterSource) -> click.Context:
    context = click.Context(click.Command("wait"))
    context.params["base_url"] = URL(base_url)
    context.set_parameter_source("base_url", source)
    return context


CHOSEN = context_of(DEV.api_url, ParameterSource.COMMANDLINE)


@contextmanager
def standard_input(data: bytes | None) -> Iterator[None]:
    """Replace standard input for a while; None closes it."""
    before, sys.stdin = sys.stdin, None if data is None else io.TextIOWrapper(io.BytesIO(data))
    try:
        yield
    finally:
        sys.stdin = before


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("s/o", OperationRef("s", "o")),
        ("https://elsewhere.example/prefix/schedules/s%2F1/operations/o?x=1", OperationRef("s/1", "o")),
    ],
)
def test_parse_target_accepts_ids_or_url(text: str, ref: OperationRef) -> None:
    assert parse_target(CHOSEN, OPTION, text) == (ref, "")


@pytest.mark.parametrize("text", ["", "s", "s/", "/o", "s/o/x", "s/..", "https://host/schedules/s", "s/\udc80"])
def test_parse_target_other_text_is_a_usage_error(text: str) -> None:
    with pytest.raises(click.BadParameter, match=r"\w+"):
        parse_target(CHOSEN, OPTION, text)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("s/o", (OperationRef("s", "o"), "")),
        (" s/o\r", (OperationRef("s", "o"), "")),
        ("Import no. 3 = s/o", (OperationRef("s", "o"), "Import no. 3")),
        ("s/o=1", (OperationRef("s", "o=1"), "")),
        ("a=https://api.example:8443/schedules/s/operations/o?x=1", (OperationRef("s", "o"), "a")),
    ],
)
def test_parse_target_reads_the_name(text: str, target: tuple[OperationRef, str]) -> None:
    assert parse_target(CHOSEN, OPTION, text) == target


def test_names_are_those_that_were_given() -> None:
    targets = parse_targets(CHOSEN, OPTION, ["s/1", "a=s/1", "s/2", "s/1"])
    assert list(targets.items()) == [(OperationRef("s", "1"), "a"), (OperationRef("s", "2"), "")]


def test_base_url_is_dev_or_a_url() -> None:
    assert parse_base_url("") == URL(DEV.api_url)
    assert parse_base_url("https://qa.example") == URL("https://qa.example")
    assert parse_base_url(" \n") == URL(DEV.api_url)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("https://user:canary@host", "'https://host' must not carry credentials"),
        ("https://user:canary@[host", r"'https://\[host' is not a URL"),
        ("https://user:canary/@host", "'https://host' is not a URL"),
        ("https://host:port", "'https://host:port' is not a URL"),
    ],
)
def test_unusable_base_url_is_shown_without_login(text: str, problem: str) -> None:
    with pytest.raises(click.BadParameter, match=f"^{problem}$") as raised:
        parse_base_url(text)
    assert "canary" not in raised.value.format_message()


@pytest.mark.parametrize(
    ("url", "base_url", "is_accepted"),
    [
        ("https://dev-api.bentley.com/schedules/s/operations/o", DEV.api_url, True),
        ("https://dev-api.bentley.com/schedules/s/operations/o", "https://DEV-api.bentley.com:443/prefix", True),
        ("https://API.example:443/schedules/s/operations/o", "https://api.example", True),
        ("https://api.example:8443/schedules/s/operations/o", "https://api.example", False),
        ("https://api.bentley.com/schedules/s/operations/o", DEV.api_url, False),
        ("http://127.0.0.1:8081/schedules/s/operations/o", "http://127.0.0.1:8080", False),
        ("s/o", DEV.api_url, True),
    ],
)
def test_url_of_another_service_is_a_usage_error(url: str, base_url: str, *, is_accepted: bool) -> None:
    """Only its ids are used, so the token is never sent to a host that the user did not choose."""
    for source in ParameterSource:
        context = context_of(base_url, source)
        if is_accepted or source is ParameterSource.COMMANDLINE:
            parse_targets(context, OPTION, ["s/o", url])
        else:
            with pytest.raises(click.UsageError, match=r"REF is a URL of .*, but the service is .*: choose one with"):
                parse_targets(context, OPTION, ["s/o", url])


def test_refs_come_from_arguments_and_standard_input() -> None:
    with standard_input(b"t/1\n\n  name=https://api.example/schedules/t/operations/2 \r\n"):
        targets = parse_targets(CHOSEN, OPTION, ["s/1", "-", "s/2"])
    assert [(str(ref), name) for ref, name in targets.items()] == [
        ("s/1", ""),
        ("t/1", ""),
        ("t/2", "name"),
        ("s/2", ""),
    ]


@pytest.mark.parametrize(
    "data", [b"\xef\xbb\xbfs/1\r\ns/2", b"# first\ns/1\n  # second\ns/2\n", b"\xef\xbb\xbf#\ns/1\n\ns/2"]
)
def test_byte_order_mark_and_comments_are_ignored(data: bytes) -> None:
    with standard_input(data):
        targets = parse_targets(CHOSEN, OPTION, ["-"])
    assert list(map(str, targets)) == ["s/1", "s/2"]


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ("s/1".encode("utf-16"), "standard input is UTF-16 text: convert it to UTF-8"),
        ("s/1".encode("utf-16-le"), "standard input is UTF-16 text"),
        (b"s/\xe9", "standard input is not UTF-8 text"),
        (None, "standard input is closed"),
        (b"s/1\nnonsense", "'nonsense' is neither"),
    ],
)
def test_unreadable_standard_input_is_a_usage_error(data: bytes | None, sentence: str) -> None:
    with standard_input(data), pytest.raises(click.BadParameter, match=sentence):
        parse_targets(CHOSEN, OPTION, ["-"])


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("0.5", 0.5),
        ("90s", 90),
        ("10m", 600),
        ("1.5h", 5400),
        ("2d", 172800),
        ("inf", math.inf),
    ],
)
def test_duration_is_seconds_or_has_a_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("soon", "'soon' is not a duration such as 90, 90s, 10m, 2h or 1d"),
        ("m", "'m' is not a duration"),
        ("", "'' is not a duration"),
        ("10 minutes", "is not a duration"),
        ("-1m", "a duration must be at least 0, not -1m"),
        ("nan", "a duration must be at least 0, not nan"),
    ],
)
def test_other_duration_is_a_usage_error(text: str, sentence: str) -> None:
    with pytest.raises(click.BadParameter, match=sentence):
        parse_duration(text)


def test_token_file_is_read_without_mark_and_spaces(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_bytes(b"\xef\xbb\xbf from-file\r\n")
    assert read_token_file(CONTEXT, OPTION, path) == "from-file"
    assert read_token_file(CONTEXT, OPTION, None) is None


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"\xff\xfe", "is not a text file"),
        (b"\xef\xbb\xbf \n", "is empty"),
    ],
)
def test_unusable_token_file_is_a_usage_error(tmp_path: Path, content: bytes | None, sentence: str) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(click.UsageError, match=sentence):
        read_token_file(CONTEXT, OPTION, path)
