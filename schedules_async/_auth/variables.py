"""The credentials and the service that environment variables name."""

import os

import aiohttp
from yarl import URL

from schedules_async._auth.client_credentials import ClientCredentials
from schedules_async._auth.environments import DEV, PRODUCTION, QA
from schedules_async._http.urls import check_url

TOKEN, CLIENT_ID, CLIENT_SECRET = "SCHEDULES_TOKEN", "SCHEDULES_CLIENT_ID", "SCHEDULES_CLIENT_SECRET"
TOKEN_URL, BASE_URL = "SCHEDULES_TOKEN_URL", "SCHEDULES_BASE_URL"
_TOKEN_URLS = {URL(each.api_url).host: each.token_url for each in (DEV, QA, PRODUCTION)}


def read_auth(base_url: str | URL, http: aiohttp.ClientSession | None = None) -> str | ClientCredentials:
    """Return the token in SCHEDULES_TOKEN, or else client credentials that borrow `http`.

    Raise ValueError, which names the variable, if one is missing, and ClientCredentials' own if one is unusable.
    """
    if token := os.environ.get(TOKEN, "").strip():
        return token
    client_id, secret = os.environ.get(CLIENT_ID, ""), os.environ.get(CLIENT_SECRET, "")
    if not client_id and not secret:
        raise ValueError(f"no token: set {TOKEN}, or {CLIENT_ID} and {CLIENT_SECRET}")
    if not client_id or not secret:
        raise ValueError(f"{CLIENT_SECRET if client_id else CLIENT_ID} is not set")
    host = check_url("base_url", base_url).host  # a URL that carries a password is not repeated
    token_url = os.environ.get(TOKEN_URL, "").strip() or _TOKEN_URLS.get(host)
    if token_url is None:
        raise ValueError(f"the identity server of {host} is unknown: set {TOKEN_URL}")
    return ClientCredentials(client_id, secret, token_url=token_url, http=http)
