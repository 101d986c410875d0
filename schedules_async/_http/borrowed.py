"""An HTTP client of our own that uses what it may of an aiohttp session of the caller's."""

import urllib.request
from collections.abc import Callable
from typing import Any

import aiohttp
from yarl import URL

from schedules_async._http.urls import is_loopback


def open_client(
    borrowed: aiohttp.ClientSession | None,
    *,
    url: str,
    connector_factory: Callable[[], aiohttp.BaseConnector],
    **options: Any,
) -> aiohttp.ClientSession:
    """Return a new client for requests to `url`, to be closed by the caller of this function.

    Of a borrowed session it uses the connector, which stays open, and the session's own proxy, else that of the
    environment where the session has `trust_env`. It never uses the session's cookies, default headers, auth, timeouts
    or middlewares. Raise RuntimeError if the borrowed session is closed.
    """
    if borrowed is not None and borrowed.closed:
        raise RuntimeError("the borrowed http session is closed")
    return aiohttp.ClientSession(
        connector=connector_factory() if borrowed is None else borrowed.connector,
        connector_owner=borrowed is None,
        proxy=None if borrowed is None else _find_proxy(borrowed, URL(url)),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(),
        auto_decompress=False,
        **options,
    )


def _find_proxy(borrowed: aiohttp.ClientSession, url: URL) -> URL | None:
    """Return the proxy for a URL.

    Plain http is for this machine: another one's proxy would see the token, and would reach itself.
    """
    proxy = _own_proxy(borrowed)
    if proxy is None and borrowed.trust_env:
        proxy = _find_in_environment(url)
    return proxy if proxy is not None and (url.scheme == "https" or is_loopback(proxy.host or "")) else None


def _own_proxy(borrowed: aiohttp.ClientSession) -> URL | None:
    """Return the session's `proxy` with its `proxy_auth`, for neither of which aiohttp has a public attribute."""
    proxy, login = (getattr(borrowed, f"_default_proxy{part}", None) for part in ("", "_auth"))
    if proxy is None or login is None:
        return None if proxy is None else URL(proxy)
    return URL(proxy).with_user(login.login).with_password(login.password)


def _find_in_environment(url: URL) -> URL | None:
    """Return the environment's proxy for a URL, as curl does: its scheme may be missing, NO_PROXY may name a port.

    aiohttp's own `trust_env` would let ~/.netrc stand in for the token.
    """
    proxy = urllib.request.getproxies().get(url.scheme)
    names = (url.host or "", f"{url.host_subcomponent}:{url.port}")
    if proxy is None or any(map(urllib.request.proxy_bypass, names)):
        return None
    try:
        return URL(proxy if "://" in proxy else f"http://{proxy}")
    except ValueError:
        pass  # what was raised may repeat a password
    raise ValueError(f"{url.scheme.upper()}_PROXY is not the URL of a proxy")
