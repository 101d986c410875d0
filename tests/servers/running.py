"""Run other projects' servers: as the current user, on free ports of the loopback, as child processes."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import pytest
from attrs import define, field, frozen

from schedules_async import OperationRef
from schedules_async.testing import operation_answer

HERE = Path(__file__).parent
REQUIRED = "SCHEDULES_REQUIRE_SERVERS"  # set by .ci/run, which installs them: then nothing may be missing
SCHEDULE = "schedule"
_PATIENCE = 30.0  # seconds to start or to end
_TRIES = 3  # a port that was free may be taken meanwhile


def miss(what: str) -> NoReturn:
    """Skip the test, or fail it where nothing may be missing."""
    if os.environ.get(REQUIRED):
        pytest.fail(f"{what} is missing, and {REQUIRED} is set")
    pytest.skip(f"{what} is not installed")


def find_program(name: str) -> str:
    """Return the path of a server's program; skip the test without it."""
    path = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))
    if path is None:
        miss(name)
    return path


def need_module(name: str) -> None:
    """Skip the test without this package."""
    if find_spec(name) is None:
        miss(name)


def free_ports(count: int) -> list[int]:
    """Return free ports of the loopback."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@frozen
class Server:
    """A running server: its folder, and its ports by name."""

    home: Path
    ports: dict[str, int]

    def url(self, port: str, scheme: str = "http") -> str:
        return f"{scheme}://127.0.0.1:{self.ports[port]}"


@define(eq=False)
class Site:
    """Operations as static files; each version has a later time, since servers derive tags from it."""

    root: Path
    _time: int = field(init=False, default=1_700_000_000)

    def publish(self, operation_id: str, status: str, percent: float) -> OperationRef:
        reason = "A text that is long enough for servers to compress it. " * 8
        body = operation_answer(status, percent_complete=percent, failure_description=reason).body
        path = self.root / "schedules" / SCHEDULE / "operations" / operation_id
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body.replace(b"{operation_id}", operation_id.encode()))
        self._time += 1
        os.utime(path, (self._time, self._time))
        return OperationRef(SCHEDULE, operation_id)


def fill_in(template: str, home: Path, values: dict[str, object]) -> Path:
    """Write a configuration from its template, in which names stand between @ signs."""
    text = (HERE / template).read_text(encoding="utf-8")
    for name, value in {"HOME": home, **values}.items():
        text = text.replace(f"@{name}@", str(value))
    path = home / template
    path.write_text(text, encoding="utf-8")
    return path


@contextmanager
def run(command: Sequence[str], template: str, home: Path, names: Sequence[str], **known: object) -> Iterator[Server]:
    """Run a server inside the `with` block; the path of its configuration ends the command."""
    for _ in range(_TRIES):
        ports = dict(zip(names, free_ports(len(names)), strict=True))
        configuration = fill_in(template, home, {**ports, **known})
        with (home / "output").open("wb") as output:
            process = subprocess.Popen([*command, str(configuration)], stdout=output, stderr=output, cwd=home)
        try:
            if is_up(process, ports[names[0]]):
                yield Server(home, ports)
                return
        finally:
            end(process)
    pytest.fail(f"{command[0]} did not start: {(home / 'output').read_text(errors='replace')[-2000:]}")


def is_up(process: "subprocess.Popen[bytes]", port: int) -> bool:
    """Wait for a server; return True once it accepts connections, False if it has ended."""
    until = time.monotonic() + _PATIENCE
    while process.poll() is None and time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.02)
    return False


def end(process: "subprocess.Popen[bytes]") -> None:
    """Terminate a process; kill it if it does not end in time."""
    process.terminate()
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
