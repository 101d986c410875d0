"""The credentials of the command: out of a file or the environment, never out of arguments."""

import os
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import click
from attrs import field, frozen

from schedules_async import DEV, PRODUCTION, QA, ClientCredentials

TOKEN, CLIENT_ID, CLIENT_SECRET = "SCHEDULES_TOKEN", "SCHEDULES_CLIENT_ID", "SCHEDULES_CLIENT_SECRET"
TOKEN_URL, BASE_URL = "SCHEDULES_TOKEN_URL", "SCHEDULES_BASE_URL"
_MAX_TOKEN_FILE = 64 * 1024
_TOKEN_URLS = {urlsplit(each.api_url).hostname: each.token_url for each in (DEV, QA, PRODUCTION)}


@frozen
class Identity:
    """What the command authenticates itself with: a token, or the id and secret of a client of `token_url`.

    The token or the secret is redacted in all output.
    """

    secret: str = field(repr=False)
    client_id: str | None = None
    token_url: str = ""

    def make_auth(self, http: aiohttp.ClientSession | None = None) -> str | ClientCredentials:
        """Return the `auth` argument of a session; client credentials borrow `http`. Raise ValueError if unusable."""
        if self.client_id is None:
            return self.secret
        return ClientCredentials(self.client_id, self.secret, token_url=self.token_url, http=http)


def read_identity(token_file: Path | None, base_url: str) -> Identity:
    """Return the token of the file, or else of the environment, or else client credentials; a usage error if none."""
    token = os.environ.get(TOKEN, "").strip() if token_file is None else _read_token_file(token_file)
    if token:
        return Identity(token)
    client_id, secret = os.environ.get(CLIENT_ID, ""), os.environ.get(CLIENT_SECRET, "")
    if not client_id and not secret:
        raise click.UsageError(
            f"No token: set ${TOKEN}, use --token-file PATH, or set ${CLIENT_ID} and ${CLIENT_SECRET}."
        )
    if not client_id or not secret:
        raise click.UsageError(f"${CLIENT_ID} and ${CLIENT_SECRET} must both be set.")
    identity = Identity(secret, client_id, _find_token_url(base_url))
    try:
        identity.make_auth()
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    return identity


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
