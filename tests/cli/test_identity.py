import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click
import pytest

from schedules_async import DEV, PRODUCTION, QA, ClientCredentials
from schedules_async.cli.identity import read_identity


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
    auth = identity.make_auth()
    assert isinstance(auth, ClientCredentials)
    assert repr(auth) == f"<ClientCredentials some-client at {token_url}>"
    assert identity.secret == "canary-secret"
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
        assert read_identity(None, DEV.api_url).make_auth() == "from-variable"
        assert read_identity(path, DEV.api_url).make_auth() == "from-file"


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
        read_identity(path, DEV.api_url)
