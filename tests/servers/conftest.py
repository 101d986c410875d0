"""One nginx, one Apache and one HAProxy for all tests here, and the operations that they serve."""

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import trustme

from servers.running import Server, Site, find_program, run

CERTIFICATES = {
    "good": ("127.0.0.1", None),
    "elsewhere": ("elsewhere.example.com", None),
    "expired": ("127.0.0.1", datetime(2001, 1, 1, tzinfo=UTC)),
}


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """Return a TLS context that trusts this authority only."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="session")
def nginx(tmp_path_factory: pytest.TempPathFactory, site: Site, authority: trustme.CA) -> Iterator[Server]:
    program, home = find_program("nginx"), tmp_path_factory.mktemp("nginx")
    for name, (host, not_after) in CERTIFICATES.items():
        certificate = authority.issue_cert(host, not_after=not_after)
        certificate.private_key_and_cert_chain_pem.write_to_path(str(home / f"{name}.pem"))
    command = [program, "-p", str(home), "-e", "stderr", "-c"]
    names = ("PLAIN", "UPSTREAM", *(name.upper() for name in CERTIFICATES))
    with run(command, "nginx.conf", home, names, SITE=site.root) as server:
        yield server


@pytest.fixture(scope="session")
def apache(tmp_path_factory: pytest.TempPathFactory, site: Site) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("apache")
    (home / "passwords").write_text("somebody:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n", encoding="utf-8")  # "secret"
    command = [find_program("apache2"), "-X", "-f"]
    with run(
        command, "apache.conf", home, ("PLAIN", "GZIP", "UNALTERED", "PROXY", "GUARDED"), SITE=site.root
    ) as server:
        yield server


@pytest.fixture(scope="session")
def haproxy(tmp_path_factory: pytest.TempPathFactory, nginx: Server) -> Iterator[Server]:
    command = [find_program("haproxy"), "-db", "-f"]
    origin = nginx.ports["PLAIN"]
    with run(command, "haproxy.cfg", tmp_path_factory.mktemp("haproxy"), ("GZIP", "DOWN"), ORIGIN=origin) as server:
        yield server
