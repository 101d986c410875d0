"""A pytest plugin: slow functions that a test names as its parameter `early` start when the suite starts.

They run processes that mostly wait, in threads beside the other tests.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

_WORKERS = 4


@pytest.fixture(scope="session", autouse=True)
def early_calls(request: pytest.FixtureRequest) -> Iterator[dict[str, "Future[Any]"]]:
    """Start the functions of the selected tests; the result maps each test to its call."""
    specs = {item.nodeid: getattr(item, "callspec", None) for item in request.session.items}
    with ThreadPoolExecutor(_WORKERS) as pool:
        yield {
            name: pool.submit(spec.params["early"]) for name, spec in specs.items() if spec and "early" in spec.params
        }
        pool.shutdown(cancel_futures=True)


@pytest.fixture
def early(request: pytest.FixtureRequest, early_calls: dict[str, "Future[Any]"]) -> Any:
    """Return the result of the function that `parametrize` names with `indirect`."""
    return early_calls[request.node.nodeid].result()
