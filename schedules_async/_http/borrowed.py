"""An HTTP client that may borrow the connector and the proxy of the caller's aiohttp session."""

import asyncio
import urllib.request
from collections.abc import Mapping
from typing import Any

import aiohttp
from attrs import field, frozen
from yarl import URL

from schedules_async._http.urls import is_loopback


@frozen
class Proxy:
    """A proxy, and the environment variable that names it, if any; its text omits the login."""

    url: URL = field(repr=False)
    variable: str | None = None

    def __str__(self) -> str:
        return f"the proxy {to_address(self.url)}{f' ({self.variable})' if self.variable else ''}"


def to_address(url: URL) -> str:
    """Return the host and the port of a URL."""
    return f"{url.host_subcomponent}:{url.port}"


def check_borrowed(http: aiohttp.ClientSession | None) -> aiohttp.ClientSession | None:
    """Return the caller's aiohttp session, or None; raise TypeError for anything else, ValueError if it is closed."""
    if http is not None and not isinstance(http, aiohttp.ClientSession):
        raise TypeError(f"http must be a ClientSession, not {type(http).__name__}")
    if http is not None and http.closed:
        raise ValueError("the borrowed http session is closed")
    return http


def open_client(
    borrowed: aiohttp.ClientSession | None, proxy: Proxy | None, connector: Mapping[str, Any], **options: Any
) -> aiohttp.ClientSession:
    """Return a new client, to be closed by the caller of this function.

    `connector` holds the options of the connector that is created if none is borrowed; that of a borrowed session stays
    open. The client never uses the session's cookies, default headers, auth, timeouts or middlewares. Raise ValueError
    if the borrowed session was closed meanwhile, RuntimeError if it belongs to another event loop.
    """
    check_borrowed(borrowed)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(**connector) if borrowed is None else borrowed.connector,
        connector_owner=borrowed is None,
        proxy=None if proxy is None else proxy.url,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(),
        loop=asyncio.get_running_loop(),
        auto_decompress=False,
        **options,
    )


def find_proxy(borrowed: aiohttp.ClientSession | None, url: URL) -> Proxy | None:
    """Return the proxy for a URL: a borrowed session's own, else that of the environment if it has `trust_env`.

    For plain http, which is for loopback only, a proxy on another machine is ignored: it would see the token, and its
    loopback is another one. aiohttp has no public attribute for a session's `proxy` and its `proxy_auth`.
    """
    if borrowed is None:
        return None
    address, login = (getattr(borrowed, f"_default_proxy{part}", None) for part in ("", "_auth"))
    if address is None:
        proxy = _find_in_environment(url) if borrowed.trust_env else None
    else:
        own = URL(address)
        proxy = Proxy(own if login is None else own.with_user(login.login).with_password(login.password))
    return proxy if proxy is not None and (url.scheme == "https" or is_loopback(proxy.url.host or "")) else None


def _find_in_environment(url: URL) -> Proxy | None:
    """Return the environment's proxy for a URL, as curl does: its scheme may be missing, NO_PROXY may name a port.

    aiohttp's own `trust_env` would replace the token with a login from ~/.netrc.
    """
    variable = f"{url.scheme.upper()}_PROXY"
    proxy = urllib.request.getproxies().get(url.scheme)
    names = (url.host or "", to_address(url))
    if proxy is None or any(map(urllib.request.proxy_bypass, names)):
        return None
    try:
        return Proxy(URL(proxy if "://" in proxy else f"http://{proxy}"), variable)
    except ValueError:
        pass  # what was raised may repeat a password
    raise ValueError(f"{variable} is not the URL of a proxy")
