"""A pytest plugin: slow functions that a test names as its parameter `early` start when the suite starts.

They run processes that mostly wait, in threads beside the other tests: each passes them `environment.INHERITED`, and
uses nothing that is not safe for threads, such as the filters of warnings. With pytest-xdist (`-n 2 --dist loadgroup`)
all of these tests run in one of its processes, which starts the functions before the first of them.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
import trustme
from environment import INHERITED, environment

_WORKERS = 3  # more would slow down the tests beside them on two cores


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.pluginmanager.hasplugin("xdist"):
        for item in filter(_early, items):
            item.add_marker(pytest.mark.xdist_group("early"))


def _early(item: pytest.Item) -> Callable[[], Any] | None:
    """Return the function that a test names, if any."""
    spec = getattr(item, "callspec", None)
    function: Callable[[], Any] | None = spec.params.get("early") if spec else None
    return function if callable(function) else None


@pytest.fixture(scope="session", autouse=True)
def few_certificates(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Trust one authority: loading the system's takes a tenth of a second for each context, twice for each process."""
    path = tmp_path_factory.mktemp("certificates") / "authority.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    INHERITED["SSL_CERT_FILE"] = str(path)
    with environment(SSL_CERT_FILE=str(path)):
        yield


@pytest.fixture(scope="session")
def early_calls(
    request: pytest.FixtureRequest, few_certificates: None
) -> Iterator[dict[Callable[[], Any], "Future[Any]"]]:
    """Start the functions of the selected tests, each once; the result maps each to its call."""
    del few_certificates  # they only have to stand in the environment
    functions = dict.fromkeys(filter(None, map(_early, request.session.items)))
    with ThreadPoolExecutor(_WORKERS) as pool:
        calls = {function: pool.submit(function) for function in functions}
        pool.shutdown(wait=False)  # each thread ends after its last call: a FakeClock rests longer beside threads
        yield calls
        pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="session", autouse=True)
def start_early(request: pytest.FixtureRequest) -> None:
    if not hasattr(request.config, "workerinput"):  # which the processes of pytest-xdist have
        request.getfixturevalue("early_calls")


@pytest.fixture
def early(request: pytest.FixtureRequest, early_calls: dict[Callable[[], Any], "Future[Any]"]) -> Any:
    """Return the result of the function that `parametrize` names with `indirect`."""
    return early_calls[request.param].result()
