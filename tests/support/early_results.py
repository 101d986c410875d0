"""A pytest plugin: slow functions that a test names as its parameter `early` start when the suite starts.

They run processes that mostly wait, in threads beside the other tests.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

_WORKERS = 3  # more would slow down the tests beside them on two cores


@pytest.fixture(scope="session", autouse=True)
def early_calls(request: pytest.FixtureRequest) -> Iterator[dict[Callable[[], Any], "Future[Any]"]]:
    """Start the functions of the selected tests, each once; the result maps each to its call."""
    specs = [getattr(item, "callspec", None) for item in request.session.items]
    functions = dict.fromkeys(spec.params["early"] for spec in specs if spec and "early" in spec.params)
    with ThreadPoolExecutor(_WORKERS) as pool:
        calls = {function: pool.submit(function) for function in functions}
        pool.shutdown(wait=False)  # each thread ends after its last call: a FakeClock rests longer beside threads
        yield calls
        pool.shutdown(cancel_futures=True)


@pytest.fixture
def early(request: pytest.FixtureRequest, early_calls: dict[Callable[[], Any], "Future[Any]"]) -> Any:
    """Return the result of the function that `parametrize` names with `indirect`."""
    return early_calls[request.param].result()
