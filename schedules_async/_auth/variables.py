"""The token or client credentials, and the service, that the environment variables of the command name."""

from collections.abc import Mapping

from yarl import URL

from schedules_async._auth.client_credentials import ClientCredentials
from schedules_async._auth.environments import DEV, PRODUCTION, QA

_TOKEN, _CLIENT_ID, _CLIENT_SECRET = "SCHEDULES_TOKEN", "SCHEDULES_CLIENT_ID", "SCHEDULES_CLIENT_SECRET"
_TOKEN_URL, _BASE_URL = "SCHEDULES_TOKEN_URL", "SCHEDULES_BASE_URL"
_TOKEN_URLS = {URL(each.api_url).host: each.token_url for each in (DEV, QA, PRODUCTION)}


def read_base_url(variables: Mapping[str, str]) -> str:
    """Return the service that SCHEDULES_BASE_URL names, or else the dev API."""
    return variables.get(_BASE_URL, "").strip() or DEV.api_url


def read_auth(variables: Mapping[str, str], base_url: str) -> str | ClientCredentials:
    """Return the token of SCHEDULES_TOKEN, or else the client credentials; ValueError that names what is missing."""
    token = variables.get(_TOKEN, "").strip()
    if token:
        return token
    client_id, secret = variables.get(_CLIENT_ID, ""), variables.get(_CLIENT_SECRET, "")
    if not client_id and not secret:
        raise ValueError(f"no token: set {_TOKEN}, or {_CLIENT_ID} and {_CLIENT_SECRET}")
    if not client_id or not secret:
        raise ValueError(f"{_CLIENT_SECRET if client_id else _CLIENT_ID} is not set")
    token_url = variables.get(_TOKEN_URL, "").strip() or _TOKEN_URLS.get(URL(base_url).host)
    if token_url is None:
        raise ValueError(f"the identity server of {base_url} is unknown: set {_TOKEN_URL}")
    return ClientCredentials(client_id, secret, token_url=token_url)
