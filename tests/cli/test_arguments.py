import io
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click
import pytest

from schedules_async import DEV, PRODUCTION, QA, ClientCredentials, OperationRef
from schedules_async.cli.arguments import (
    parse_ref,
    parse_ref_argument,
    parse_ref_arguments,
    read_identity,
    resolve_base_url,
)


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("s/o", OperationRef("s", "o")),
        ("https://elsewhere.example/prefix/schedules/s%2F1/operations/o?x=1", OperationRef("s/1", "o")),
    ],
)
def test_parse_ref_accepts_ids_or_url(text: str, ref: OperationRef) -> None:
    assert parse_ref(text) == ref


@pytest.mark.parametrize("text", ["", "s", "s/", "/o", "s/o/x", "s/..", "https://host/schedules/s", "s/\udc80"])
def test_parse_ref_other_text_raises_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w+"):
        parse_ref(text)


@pytest.mark.parametrize(
    ("url", "base_url", "is_accepted"),
    [
        ("https://dev-api.bentley.com/schedules/s/operations/o", None, True),
        ("https://api.bentley.com/schedules/s/operations/o", None, False),
        ("https://api.bentley.com/schedules/s/operations/o", "https://qa-api.bentley.com", True),
        ("s/o", None, True),
    ],
)
def test_url_of_another_service_needs_base_url(url: str, base_url: str | None, *, is_accepted: bool) -> None:
    """Only its ids are used, so the token is never sent to a host that the user did not choose."""
    command = click.Command("get")
    context, parameter = click.Context(command), click.Argument(["ref"])
    parse_ref_argument(context, parameter, url)
    if is_accepted:
        assert resolve_base_url(context, parameter, base_url) == (base_url or DEV.api_url)
    else:
        with pytest.raises(click.UsageError, match=r"REF is a URL of api\.bentley\.com"):
            resolve_base_url(context, parameter, base_url)


def test_refs_come_from_arguments_and_standard_input() -> None:
    command = click.Command("wait")
    context, parameter = click.Context(command), click.Argument(["refs"])
    before, sys.stdin = sys.stdin, io.StringIO("t/1\n\n  https://api.example/schedules/t/operations/2 \n")
    try:
        refs = parse_ref_arguments(context, parameter, ("s/1", "-", "s/2"))
    finally:
        sys.stdin = before
    assert [str(ref) for ref in refs] == ["s/1", "t/1", "t/2", "s/2"]
    with pytest.raises(click.UsageError, match=r"REF is a URL of api\.example"):
        resolve_base_url(context, parameter, None)


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    before = dict(os.environ)
    try:
        for name in [name for name in before if name.startswith("SCHEDULES_")]:
            del os.environ[name]
        os.environ.update({f"SCHEDULES_{name}": value for name, value in variables.items()})
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


CLIENT = {"CLIENT_ID": "some-client", "CLIENT_SECRET": "canary-secret"}


@pytest.mark.parametrize(
    ("variables", "base_url", "token_url"),
    [
        ({}, DEV.api_url, DEV.token_url),
        ({}, f"{QA.api_url}/", QA.token_url),
        ({}, f"{PRODUCTION.api_url}/prefix", PRODUCTION.token_url),
        ({"TOKEN_URL": "https://ims.example/token"}, "https://api.example", "https://ims.example/token"),
        ({"TOKEN_URL": "https://ims.example/token"}, DEV.api_url, "https://ims.example/token"),
    ],
)
def test_client_credentials_use_identity_server_of_the_service(
    variables: Mapping[str, str], base_url: str, token_url: str
) -> None:
    with environment(**CLIENT, **variables):
        identity = read_identity(None, base_url)
    assert isinstance(identity.auth, ClientCredentials)
    assert repr(identity.auth) == f"<ClientCredentials some-client at {token_url}>"
    assert identity.secrets == ("canary-secret",)
    assert "canary" not in repr(identity)


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({}, r"No token: set \$SCHEDULES_TOKEN, use --token-file PATH, or set \$SCHEDULES_CLIENT_ID and"),
        ({"TOKEN": " \n"}, "No token: set"),
        ({"CLIENT_ID": "x"}, "must both be set"),
        ({"CLIENT_SECRET": "x"}, "must both be set"),
        (CLIENT, r"identity server of https://api.example is unknown: set \$SCHEDULES_TOKEN_URL"),
        ({**CLIENT, "TOKEN_URL": "http://ims.example"}, "plain http would show"),
        ({**CLIENT, "CLIENT_SECRET": "canary-\n", "TOKEN_URL": "https://ims.example"}, "client_secret"),
    ],
)
def test_credentials_missing_or_unusable_are_a_usage_error(variables: Mapping[str, str], sentence: str) -> None:
    with environment(**variables), pytest.raises(click.UsageError, match=sentence) as raised:
        read_identity(None, "https://api.example")
    assert "canary" not in str(raised.value)


def test_token_file_precedes_token_and_client_credentials(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("from-file\n")
    with environment(**CLIENT, TOKEN=" from-variable "):
        assert read_identity(None, DEV.api_url).auth == "from-variable"
        assert read_identity(path, DEV.api_url).auth == "from-file"
