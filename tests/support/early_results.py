"""A pytest plugin: slow functions that a test names as its parameter `early` start when the suite starts.

They run processes that mostly wait, in threads of a process of their own: no test that runs meanwhile and replaces the
environment, a stream or the handler of a signal changes what they inherit. The tests themselves come last. The first
process of pytest-xdist starts the functions; the results are left in files, since any process may get the tests.
"""

import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import early_process
import pytest
import trustme
from environment import INHERITED, environment

_THREADS = 2  # more would slow down the tests beside them on two cores
_TICK = 0.02  # seconds between two looks for a file
_LONGEST_WAIT = 200  # seconds


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Run named tests in one process: starting more takes longer than most files of tests."""
    return None if config.args_source is pytest.Config.ArgsSource.TESTPATHS else 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _early(item) is not None)


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


@pytest.fixture(scope="session", autouse=True)
def early_files(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, few_certificates: None
) -> Iterator[dict[Callable[[], Any], Path]]:
    """Start the functions of the selected tests, each once, in the first process; return the file of each result."""
    del few_certificates  # they only have to stand in the environment
    worker = getattr(request.config, "workerinput", {"workerid": "gw0", "workercount": 1})
    count = worker["workercount"]
    folder = tmp_path_factory.getbasetemp().parent if count > 1 else tmp_path_factory.getbasetemp()
    functions = dict.fromkeys(filter(None, map(_early, request.session.items)))
    files = {function: folder / f"early-{place}" for place, function in enumerate(functions)}
    if not files or worker["workerid"] != "gw0":
        yield files
        return
    with subprocess.Popen((sys.executable, early_process.__file__), stdin=subprocess.PIPE, env=INHERITED) as process:
        assert process.stdin is not None
        process.stdin.write(pickle.dumps(sys.path) + pickle.dumps((_THREADS, list(files.items()))))
        process.stdin.flush()
        yield files
        is_wanted = count > 1 and not request.session.shouldfail  # by the tests of another process, perhaps
        process.communicate(early_process.FINISH * is_wanted)


@pytest.fixture
def early(request: pytest.FixtureRequest, early_files: dict[Callable[[], Any], Path]) -> Any:
    """Return the result of the function that `parametrize` names with `indirect`."""
    file, deadline = early_files[request.param], time.monotonic() + _LONGEST_WAIT
    while not file.exists():
        assert time.monotonic() < deadline, "the process that was to call the function has ended"
        time.sleep(_TICK)
    value, error = pickle.loads(file.read_bytes())
    if error is not None:
        raise error
    return value
