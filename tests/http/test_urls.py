"""Where a secret may be sent, and which URLs are an error before anything is sent."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from yarl import URL

from schedules_async._http.urls import check_base_url, check_url, is_loopback

CHECKS = [check_base_url, partial(check_url, "token_url")]


@pytest.mark.parametrize(
    ("host", "is_own"),
    [("localhost", True), ("127.8.8.8", True), ("::1", True), ("10.0.0.1", False), ("localhost.example.com", False)],
)
def test_loopback_host_is_this_machine(host: str, is_own: bool) -> None:
    assert is_loopback(host) is is_own


def test_url_keeps_its_encoding() -> None:
    assert check_base_url("https://example.com/a%2Fb/") == "https://example.com/a%2Fb"
    assert str(check_url("token_url", "https://example.com/a%2Fb/?tenant=x")) == "https://example.com/a%2Fb/?tenant=x"


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("url", ["https://example.com/t", URL("http://127.0.0.2:80/t"), "http://[::1]:8080/t"])
def test_https_and_loopback_urls_are_accepted(check: Callable[[str | URL], str | URL], url: str | URL) -> None:
    assert str(check(url)) == str(url)


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(
    ("url", "error", "text"),
    [
        ("http://example.com/t", ValueError, "https"),
        ("http://127.0.0.1.example.com/t", ValueError, "https"),
        ("ftp://localhost/t", ValueError, "https"),
        ("/t", ValueError, "absolute"),
        ("https:///t", ValueError, "absolute"),
        ("", ValueError, "absolute"),
        ("https://example.com ", ValueError, "_url must be an absolute"),
        ("https://example.com:port/t", ValueError, "_url is not a URL"),
        ("https://user:word@[/t", ValueError, "_url is not a URL"),
        ("https://user:word@\u2100.example.com/t", ValueError, "_url is not a URL"),  # urllib's error repeats it
        ("https://user:word@example.com/t", ValueError, "credentials"),
        ("ftp://user:word@example.com/t", ValueError, "credentials"),
        ("https://example.com/t#part", ValueError, "fragment"),
        (5, TypeError, "_url must be a URL, not int"),
        (None, TypeError, "_url must be a URL, not NoneType"),
    ],
)
def test_any_other_url_is_an_error(check: Callable[[Any], Any], url: Any, error: type[Exception], text: str) -> None:
    """The error does not repeat a password."""
    with pytest.raises(error, match=text) as caught:
        check(url)
    assert "word" not in f"{caught.value} {caught.value.__context__}"


def test_base_url_with_query_is_an_error() -> None:
    with pytest.raises(ValueError, match="query"):
        check_base_url("https://example.com/?q=1")
