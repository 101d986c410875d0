import io
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click
import pytest

from schedules_async import DEV, PRODUCTION, QA, ClientCredentials, OperationRef
from schedules_async.cli.arguments import read_identity, read_ref, take_base_url, take_ref, take_refs


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("s/o", OperationRef("s", "o")),
        ("https://elsewhere.example/prefix/schedules/s%2F1/operations/o?x=1", OperationRef("s/1", "o")),
    ],
)
def test_an_operation_is_named_by_its_ids_or_its_url(text: str, ref: OperationRef) -> None:
    assert read_ref(text) == ref


@pytest.mark.parametrize("text", ["", "s", "s/", "/o", "s/o/x", "s/..", "https://host/schedules/s", "s/\udc80"])
def test_anything_else_names_no_operation(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w+"):
        read_ref(text)


@pytest.mark.parametrize(
    ("url", "base_url", "is_taken"),
    [
        ("https://dev-api.bentley.com/schedules/s/operations/o", None, True),
        ("https://api.bentley.com/schedules/s/operations/o", None, False),
        ("https://api.bentley.com/schedules/s/operations/o", "https://qa-api.bentley.com", True),
        ("s/o", None, True),
    ],
)
def test_the_url_of_another_service_needs_a_word_on_which_to_ask(
    url: str, base_url: str | None, *, is_taken: bool
) -> None:
    """The ids alone are taken from it, so a token never goes where nobody said it should."""
    command = click.Command("get")
    context, parameter = click.Context(command), click.Argument(["ref"])
    take_ref(context, parameter, url)
    if is_taken:
        assert take_base_url(context, parameter, base_url) == (base_url or DEV.api_url)
    else:
        with pytest.raises(click.UsageError, match=r"REF is a URL of api\.bentley\.com"):
            take_base_url(context, parameter, base_url)


def test_operations_come_from_arguments_and_the_lines_of_the_standard_input() -> None:
    command = click.Command("wait")
    context, parameter = click.Context(command), click.Argument(["refs"])
    before, sys.stdin = sys.stdin, io.StringIO("t/1\n\n  https://api.example/schedules/t/operations/2 \n")
    try:
        refs = take_refs(context, parameter, ("s/1", "-", "s/2"))
    finally:
        sys.stdin = before
    assert [str(ref) for ref in refs] == ["s/1", "t/1", "t/2", "s/2"]
    with pytest.raises(click.UsageError, match=r"REF is a URL of api\.example"):
        take_base_url(context, parameter, None)


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
def test_client_credentials_ask_the_identity_server_of_the_service(
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
        ({}, r"There is no token: set \$SCHEDULES_TOKEN, use --token-file PATH, or set \$SCHEDULES_CLIENT_ID and"),
        ({"TOKEN": " \n"}, "There is no token"),
        ({"CLIENT_ID": "x"}, "only one is set"),
        ({"CLIENT_SECRET": "x"}, "only one is set"),
        (CLIENT, r"belongs to https://api.example is not known: set \$SCHEDULES_TOKEN_URL"),
        ({**CLIENT, "TOKEN_URL": "http://ims.example"}, "plain http would show"),
        ({**CLIENT, "CLIENT_SECRET": "canary-\n", "TOKEN_URL": "https://ims.example"}, "client_secret"),
    ],
)
def test_what_is_missing_or_unusable_is_named(variables: Mapping[str, str], sentence: str) -> None:
    with environment(**variables), pytest.raises(click.UsageError, match=sentence) as raised:
        read_identity(None, "https://api.example")
    assert "canary" not in str(raised.value)


def test_a_token_goes_before_client_credentials_and_a_file_before_both(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("from-file\n")
    with environment(**CLIENT, TOKEN=" from-variable "):
        assert read_identity(None, DEV.api_url).auth == "from-variable"
        assert read_identity(path, DEV.api_url).auth == "from-file"
