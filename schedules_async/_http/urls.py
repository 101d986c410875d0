"""URLs to which a secret may be sent: https, or this machine. Pure."""

import ipaddress
from contextlib import suppress

from yarl import URL


def check_base_url(base_url: str | URL) -> str:
    """Return the URL that paths are appended to; raise what `check_url` raises, and ValueError for a query."""
    url = check_url("base_url", base_url)
    if url.raw_query_string:
        raise ValueError("base_url must not carry a query")
    return str(url).rstrip("/")


def check_url(name: str, value: str | URL) -> URL:
    """Return the URL, which may have a query (RFC 6749 section 3.2); raise ValueError unless https or loopback."""
    if not isinstance(value, str | URL):
        raise TypeError(f"{name} must be a URL, not {type(value).__name__}")
    url = None
    with suppress(ValueError):  # its text may repeat a password
        url = URL(value)
    if url is None:
        raise ValueError(f"{name} is not a URL")
    if url.user is not None or url.password is not None:
        raise ValueError(f"{name} must not carry credentials")
    if url.raw_fragment:
        raise ValueError(f"{name} must not carry a fragment")
    if url.scheme not in ("https", "http") or not url.host or any(map(str.isspace, url.host)):
        raise ValueError(f"{name} must be an absolute https URL (or http to this machine), not {value}")
    if url.scheme == "http" and not is_loopback(url.host):
        raise ValueError(f"plain http would show the token to the network: use https for {url.host}")
    return url


def is_loopback(host: str) -> bool:
    """Return True if a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, not an address
        return host == "localhost"
