import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import click
import pytest
import trustme
from attrs import field, frozen

from schedules_async import (
    CheckpointFile,
    Operation,
    OperationGroupWaiter,
    OperationRef,
    RetryPolicy,
    SchedulesSession,
    TimeRemaining,
)
from schedules_async._waiters.checkpoint import Checkpoint, read_checkpoint
from schedules_async.cli.client import (
    Opening,
    checkpointed,
    fetch,
    make_plan,
    open_session,
    wait_for_all,
)
from schedules_async.cli.reports import CommandError, Lines, Names
from schedules_async.errors import (
    AuthenticationError,
    NotFoundError,
    OperationFailedError,
    OperationGroupError,
    OperationStalledError,
    OperationTimeoutError,
    SchedulesError,
    TransportError,
)
from schedules_async.events import Event, Retried
from schedules_async.testing import FakeSchedules, fault, operation_answer

BY_TOKEN = {"SCHEDULES_TOKEN": " some-token\n"}
BY_SECRET = {
    "SCHEDULES_CLIENT_ID": "some-client",
    "SCHEDULES_CLIENT_SECRET": "some-secret",
    "SCHEDULES_TOKEN_URL": "https://identity.invalid/token",
}
API = "https://api.invalid"
DEFAULT, ONCE = RetryPolicy(), RetryPolicy(attempts=1)
VARIABLES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE")


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Set these of the variables that credentials, proxies and certificates come from, and no others."""
    before = dict(os.environ)
    for name in [name for name in before if name.upper() in VARIABLES or name.startswith("SCHEDULES_")]:
        del os.environ[name]
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@asynccontextmanager
async def serving(context: ssl.SSLContext | None = None) -> AsyncIterator[tuple[str, list[str]]]:
    """Yield the address of a server that answers everything with 418, and the first lines of its requests."""
    requests: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append((await reader.readuntil(b"\r\n\r\n")).decode().splitlines()[0])
        writer.write(b"HTTP/1.1 418 Teapot\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", requests


async def fetch_error(base_url: str, token: str | None = None, retry: RetryPolicy = DEFAULT) -> SchedulesError | None:
    """Return the error of a fetch."""
    async with open_session(base_url, token, retry) as session:
        try:
            await session.get_operation("s", "o")
        except SchedulesError as error:
            return error
    return None


async def test_session_has_the_hooks_and_the_policy() -> None:
    events: list[Event] = []
    async with FakeSchedules() as server:
        ref = server.script_operation(fault(503), operation_answer("Started"))
        async with open_session(server.url, server.token, RetryPolicy(base=0), events.append) as session:
            await session.get_operation(*ref)
    assert [type(event) for event in events].count(Retried) == 1


async def test_unusable_base_url_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="plain http would"):
        await fetch_error("http://api.invalid", "some-token")


async def test_token_file_precedes_the_variables() -> None:
    async with FakeSchedules(token="from-file") as server:
        with environment(**BY_TOKEN, **BY_SECRET):
            error = await fetch_error(server.url, "from-file")
    assert isinstance(error, NotFoundError)


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({}, "no token: set SCHEDULES_TOKEN, or SCHEDULES_CLIENT_ID and SCHEDULES_CLIENT_SECRET"),
        ({"SCHEDULES_CLIENT_ID": "x"}, "SCHEDULES_CLIENT_SECRET is not set"),
        ({"SCHEDULES_CLIENT_ID": "x", "SCHEDULES_CLIENT_SECRET": "canary"}, "identity server of .* is unknown: set"),
    ],
)
async def test_missing_credentials_are_a_usage_error(variables: dict[str, str], sentence: str) -> None:
    with (
        environment(**variables),
        pytest.raises(click.UsageError, match=rf"{sentence}.* \(see also --token-file\)") as raised,
    ):
        await fetch_error(API)
    assert "canary" not in str(raised.value)


@pytest.mark.parametrize(
    ("variables", "asked"), [(BY_TOKEN, "CONNECT api.invalid:443"), (BY_SECRET, "CONNECT identity.invalid:443")]
)
async def test_proxy_of_environment_serves_api_and_identity(variables: dict[str, str], asked: str) -> None:
    async with serving() as (proxy, requests):
        with environment(**variables, HTTPS_PROXY=f"http://{proxy}"):
            error = await fetch_error(API, retry=ONCE)
    assert isinstance(error, TransportError | AuthenticationError)
    assert {request.removesuffix(" HTTP/1.1") for request in requests} == {asked}


@pytest.mark.parametrize("is_secret", [False, True])
@pytest.mark.parametrize("excepted", ["127.0.0.1", "127.0.0.1:{port}"])
async def test_host_in_no_proxy_is_asked_directly(excepted: str, *, is_secret: bool) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    async with serving() as (proxy, proxied), serving(context) as (address, requests):
        no_proxy = excepted.format(port=address.partition(":")[2])
        variables = {**BY_SECRET, "SCHEDULES_TOKEN_URL": f"https://{address}/token"} if is_secret else BY_TOKEN
        with (
            authority.cert_pem.tempfile() as path,
            environment(**variables, HTTPS_PROXY=f"http://{proxy}", NO_PROXY=no_proxy, SSL_CERT_FILE=path),
        ):
            error = await fetch_error(f"https://{address}", retry=ONCE)
    assert "418" in str(error)
    assert (proxied, requests) == (
        [],
        ["POST /token HTTP/1.1" if is_secret else "GET /schedules/s/operations/o HTTP/1.1"],
    )


@pytest.mark.parametrize("has_file", [True, False])
async def test_unknown_certificate_is_rejected(*, has_file: bool) -> None:
    """By the certificates of the file, and by those of the system, which are the default."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    async with serving(context) as (address, requests):
        with (
            trustme.CA().cert_pem.tempfile() as path,
            environment(**BY_TOKEN, **{"SSL_CERT_FILE": path} if has_file else {}),
        ):
            error = await fetch_error(f"https://{address}", retry=ONCE)
    assert isinstance(error, TransportError)
    assert "certificate" in str(error)
    assert requests == []


@pytest.mark.parametrize(
    ("name", "sentence"), [("none", "cannot be read: No such file or directory"), ("text", "contains no certificates")]
)
async def test_unusable_certificate_file_is_a_usage_error(tmp_path: Path, name: str, sentence: str) -> None:
    (tmp_path / "text").write_text("nothing")
    with (
        environment(**BY_TOKEN, SSL_CERT_FILE=str(tmp_path / name)),
        pytest.raises(click.UsageError, match=rf"The file .*/{name} of \$SSL_CERT_FILE {sentence}\."),
    ):
        await fetch_error(API)


REFS = (OperationRef("s", "a"), OperationRef("s", "b"))


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def percents(path: Path) -> list[float]:
    return [operation.percent_complete for operation in read_checkpoint(path.read_text()).saved.values()]


def begin(server: FakeSchedules, session: SchedulesSession) -> OperationGroupWaiter:
    for ref in REFS:
        server.start_operation(10, schedule_id=ref.schedule_id, operation_id=ref.operation_id)
    return session.wait_for_operations(REFS)


async def test_file_is_saved_after_each_change_then_deleted(
    server: FakeSchedules, session: SchedulesSession, tmp_path: Path
) -> None:
    path, waiter = tmp_path / "wait.json", begin(server, session)
    saved = []
    with checkpointed(waiter, CheckpointFile(path)):
        saved.append(percents(path))
        async for _ in waiter:
            for _ in range(5):  # until the other task has saved the change
                await asyncio.sleep(0)
            saved.append(percents(path))
            assert names_in(tmp_path) == ["wait.json"]
    assert saved[0] == []
    assert saved[1] != []
    assert names_in(tmp_path) == []


async def test_file_stays_while_an_operation_has_not_ended(
    server: FakeSchedules, session: SchedulesSession, tmp_path: Path
) -> None:
    path, waiter = tmp_path / "wait.json", begin(server, session)
    server.forget_operation(REFS[1])
    with checkpointed(waiter, CheckpointFile(path)):
        async for _ in waiter:
            break
    resumed = make_plan(REFS, CheckpointFile(path), UNLIMITED, UNLIMITED)
    assert (resumed.refs, list(resumed.saved)) == (REFS, [REFS[0]])


async def test_unwritable_file_is_an_error_before_any_request(
    server: FakeSchedules, session: SchedulesSession, tmp_path: Path
) -> None:
    waiter = begin(server, session)
    before = names_in(tmp_path.parent)
    sentence = r"checkpoint file .* cannot be replaced: Is a directory"
    with (
        pytest.raises(click.UsageError, match=sentence) as raised,
        checkpointed(waiter, CheckpointFile(tmp_path)),
    ):
        await waiter
    assert (raised.value.exit_code, server.requests) == (2, [])
    assert names_in(tmp_path.parent) == before


async def test_save_fails_later_wait_still_ends(
    server: FakeSchedules, session: SchedulesSession, tmp_path: Path
) -> None:
    folder, waiter = tmp_path / "folder", begin(server, session)
    folder.mkdir()
    with checkpointed(waiter, CheckpointFile(folder / "wait.json")):
        folder.rename(tmp_path / "elsewhere")
        await waiter
    assert waiter.percent_complete == 100


async def test_last_save_fails_is_an_error(server: FakeSchedules, session: SchedulesSession, tmp_path: Path) -> None:
    folder, waiter = tmp_path / "folder", begin(server, session)
    folder.mkdir()
    with (
        pytest.raises(CommandError, match=r"checkpoint file .* could not be updated .*: No such file") as raised,
        checkpointed(waiter, CheckpointFile(folder / "wait.json")),
    ):
        folder.rename(tmp_path / "elsewhere")
    assert raised.value.exit_code == 4


async def be_cancelled() -> None:
    raise asyncio.CancelledError


@pytest.mark.parametrize("error", [OperationGroupError, asyncio.CancelledError])
async def test_last_save_fails_hides_no_other_error(
    server: FakeSchedules,
    session: SchedulesSession,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    error: type[BaseException],
) -> None:
    """Nor a signal, which ends the wait with a CancelledError."""
    folder, waiter = tmp_path / "folder", begin(server, session)
    folder.mkdir()
    server.forget_operation(REFS[1])
    ending = be_cancelled() if error is asyncio.CancelledError else waiter
    with pytest.raises(error), checkpointed(waiter, CheckpointFile(folder / "wait.json")):
        await asyncio.gather(asyncio.to_thread(folder.rename, tmp_path / "elsewhere"), ending)
    assert capsys.readouterr().err.startswith("schedules-async: The checkpoint file ")


def test_plan_without_file_is_new(tmp_path: Path) -> None:
    planned = make_plan(REFS, CheckpointFile(tmp_path / "none"), 9, UNLIMITED)
    assert (planned.refs, planned.saved, planned.timeout) == (REFS, {}, 9)
    assert make_plan(REFS, None, 9, UNLIMITED) == planned


async def test_plan_from_file_requires_the_same_operations(session: SchedulesSession, tmp_path: Path) -> None:
    path = tmp_path / "wait.json"
    waiter = session.wait_for_operations(REFS)
    path.write_text(waiter.checkpoint())
    await waiter.aclose()
    for refs in ((), REFS, REFS[::-1], REFS * 2):
        resumed = make_plan(refs, CheckpointFile(path), UNLIMITED, UNLIMITED)
        assert resumed.refs == REFS
    with pytest.raises(click.UsageError, match="is for other operations"):
        make_plan(REFS[:1], CheckpointFile(path), UNLIMITED, UNLIMITED)


def test_plan_from_unusable_file_is_a_usage_error(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("{}")
    with pytest.raises(click.UsageError, match=r"Cannot resume from .*/file: the text is not a checkpoint"):
        make_plan(REFS, CheckpointFile(path), UNLIMITED, UNLIMITED)
    with pytest.raises(click.UsageError, match="cannot be read: Is a directory"):
        make_plan(REFS, CheckpointFile(tmp_path), UNLIMITED, UNLIMITED)
    with pytest.raises(click.UsageError, match="directory of the checkpoint file"):
        make_plan(REFS, CheckpointFile(tmp_path / "none" / "file"), UNLIMITED, UNLIMITED)


UNLIMITED = float("inf")


def opening(server: FakeSchedules) -> Opening:
    return open_session(server.url, server.token, RetryPolicy())


def plan(*refs: OperationRef, timeout: float = UNLIMITED, stall_timeout: float = UNLIMITED) -> Checkpoint:
    return Checkpoint(refs, {}, is_group=True, check=True, timeout=timeout, stall_timeout=stall_timeout)


@frozen
class Record(Lines):
    """Keeps what is reported."""

    names: Names = field(factory=dict)
    statuses: list[str] = field(factory=list)

    def on_change(self, operation: Operation, remaining: TimeRemaining | None = None) -> None:
        del remaining
        self.statuses.append(operation.raw_status)


async def test_fetch_reports_the_operation() -> None:
    report = Record()
    async with FakeSchedules() as server:
        ref = server.script_operation(operation_answer("Started", percent_complete=30))
        await fetch(opening(server), ref, report)
        assert report.statuses == ["Started"]
        assert len(server.requests) == 1


async def test_fetch_of_failed_operation_raises_its_error() -> None:
    report = Record()
    async with FakeSchedules() as server:
        ref = server.script_operation(operation_answer("Failed"))
        with pytest.raises(OperationFailedError, match="failed: no reason given"):
            await fetch(opening(server), ref, report)
    assert report.statuses == ["Failed"]


async def test_wait_reports_changes_and_raises_errors() -> None:
    report = Record()
    async with FakeSchedules() as server:
        failing = server.script_operation(
            operation_answer("Queued"), operation_answer("Failed", failure_description="No room")
        )
        good, gone = server.script_operation(operation_answer("Succeeded")), OperationRef("no", "such")
        with pytest.raises(OperationGroupError) as raised:
            await wait_for_all(opening(server), plan(failing, good, gone), report, None, None)
    errors = raised.value.errors
    assert sorted(report.statuses) == ["Failed", "Queued", "Succeeded"]
    assert [(ref, type(error)) for ref, error in errors.items()] == [
        (failing, OperationFailedError),
        (gone, NotFoundError),
    ]
    assert str(errors[failing]) == f"{failing} failed: No room"


@pytest.mark.parametrize(
    ("limit", "error"), [("timeout", OperationTimeoutError), ("stall_timeout", OperationStalledError)]
)
async def test_wait_times_out_and_keeps_the_checkpoint(limit: str, error: type[Exception], tmp_path: Path) -> None:
    path = tmp_path / "wait.json"
    async with FakeSchedules() as server:
        ref = server.script_operation(operation_answer("Started"))
        file = CheckpointFile(path)
        with pytest.raises(OperationGroupError) as raised:
            await wait_for_all(opening(server), plan(ref, **{limit: 0.05}), Record(), None, file)
    assert [type(each) for each in raised.value.exceptions] == [error]
    assert path.exists()
