"""A canary token and a canary client secret: whatever goes wrong, no output contains them.

The plugin `leaks` searches besides whatever any test logs or raises.
"""

import asyncio
import copy
import logging
import pickle
from collections.abc import Iterator
from typing import Any, Never

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver
from leaks import render, shows_secret
from sessions import MakeSession

from schedules_async import (
    AuthenticationError,
    ClientCredentials,
    Operation,
    OperationGroupError,
    OperationRef,
    PollingPolicy,
    RetryPolicy,
    SchedulesError,
    SchedulesSession,
)
from schedules_async.events import Event
from schedules_async.testing import (
    Answer,
    FakeClock,
    FakeSchedules,
    cut_body,
    fault,
    not_modified,
    operation_answer,
    raw,
    reset,
    throttled,
)

TOKEN = "canary-token-that-must-not-be-revealed"
SECRET = "canary-secret-that-must-not-be-revealed"
DONE = operation_answer("Succeeded", etag='"E1"')
ANSWERS = {
    "good": DONE,
    "failed": operation_answer("Failed", failure_description="The disk is full."),
    "reset": reset(),
    "cut off": cut_body(),
    "no HTTP": raw(b"\x16\x03\x01"),
    "bad header": raw(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"),
    "bad chunk": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
    "redirect": Answer(307, b"", {"Location": "http://127.0.0.1:1/"}),
    "unauthorized": Answer(401),
    "forbidden": Answer(403),
    "not found": Answer(404),
    "throttled": throttled(500),
    "fault": fault(500),
    "fault for long": fault(503, retry_after=500),
    "no JSON": Answer(200, b"<html>"),
    "another operation": Answer(200, {"operation": {"id": "other", "status": "Queued"}}),
    "not modified": not_modified(),
    "undecodable": Answer(200, b"x", {"Content-Encoding": "br"}),
}
ECHOES = {
    "in an error": Answer(
        400, {"error": {"code": TOKEN, "message": f"not {TOKEN}", "target": TOKEN}}, {"x-correlation-id": TOKEN}
    ),
    "in a 429": Answer(429, b"", {"Retry-After": "500", "ITwinPlatform-RateLimited-Tier": TOKEN}),
    "in a snapshot": operation_answer("Failed", failure_description=TOKEN, sub_status=TOKEN, etag=f'"{TOKEN}"'),
    "where an id is due": Answer(200, {"operation": {"id": TOKEN}}),
}


@pytest.fixture
def log() -> Iterator[list[str]]:
    """Return a list of everything that is logged at any level, asyncio's debug mode included."""
    lines: list[str] = []

    class Collecting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    handler = Collecting(logging.DEBUG)
    logging.getLogger().addHandler(handler)
    yield lines
    logging.getLogger().removeHandler(handler)


@pytest.fixture
def server_of_canaries(server: FakeSchedules) -> FakeSchedules:
    server.token, server.client_secret = TOKEN, SECRET
    return server


async def outcome_of(session: SchedulesSession, ref: OperationRef) -> list[Operation | BaseException]:
    """Get, await and iterate; return the result of each."""
    results: list[Operation | BaseException] = []
    results += await asyncio.gather(session.get_operation(*ref), return_exceptions=True)
    wait = session.wait_for_operation(*ref, timeout=20, stall_timeout=15)
    results += await asyncio.gather(wait, return_exceptions=True)
    try:
        results += [operation async for operation in wait]
    except (SchedulesError, LookupError) as error:
        results.append(error)
    return results


def everything(result: object) -> list[str]:
    if isinstance(result, Operation):
        return [repr(result), result.to_json(), repr(pickle.dumps(result))]
    assert isinstance(result, Exception)
    twin = copy.copy(result)
    return [str(result), render(result), render(twin), repr(pickle.dumps(result))]


@pytest.mark.parametrize("kind", ANSWERS)
async def test_failing_service_does_not_reveal_the_token(
    server_of_canaries: FakeSchedules, make_session: MakeSession, log: list[str], kind: str
) -> None:
    server = server_of_canaries
    events: list[Event] = []
    for auth in (TOKEN, server.credentials()):
        asyncio.get_running_loop().set_debug(enabled=auth != TOKEN)  # once: it takes most of the time
        session = make_session(
            hooks=[events.append], auth=auth, retry=RetryPolicy(attempts=2), polling=PollingPolicy.fixed(1)
        )
        ref = server.script_operation(*[operation_answer("Started")] * (kind == "failed"), ANSWERS[kind])
        results = await outcome_of(session, ref)
        shown = [repr(session), str(session), repr(vars(session)), repr(session.stats)]
        for result in results:
            shown += everything(result)
        for event in events:
            shown += [str(event), repr(event), repr(pickle.dumps(event))]
        assert [text for text in shown + log if shows_secret(text)] == []
    assert {TOKEN, f"{TOKEN}-1"} <= {request.headers["Authorization"][7:] for request in server.requests}


@pytest.mark.parametrize("where", ECHOES)
async def test_token_repeated_by_the_service_is_redacted(
    server_of_canaries: FakeSchedules, make_session: MakeSession, log: list[str], where: str
) -> None:
    events: list[Event] = []
    options = {"auth": TOKEN, "retry": RetryPolicy(attempts=1), "polling": PollingPolicy.fixed(1)}
    session = make_session(hooks=[events.append], **options)
    results = await outcome_of(session, server_of_canaries.script_operation(ECHOES[where]))
    shown = [text for event in events for text in (str(event), repr(event), repr(pickle.dumps(event)))]
    assert [text for result in results for text in everything(result) + shown + log if shows_secret(text)] == []
    assert "***" in str(everything(results[0])) or where == "where an id is due"


TOKEN_ANSWERS = {
    "reset": reset(),
    "cut off": cut_body(),
    "no HTTP": raw(b"\x16\x03\x01"),
    "bad header": raw(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"),
    "redirect": Answer(307, b"", {"Location": f"http://127.0.0.1:1/?{SECRET}"}),
    "rejected": Answer(401, {"error": "invalid_client", "error_description": SECRET}),
    "echo": Answer(400, {"error": SECRET, "error_uri": SECRET}, {"x-correlation-id": SECRET}),
    "echo in an envelope": Answer(500, {"error": {"code": SECRET, "message": SECRET}}),
    "no JSON": Answer(200, f"<html>{TOKEN}".encode()),
    "no UTF-8": Answer(200, b"\xff" + TOKEN.encode()),
    "unusable": Answer(200, {"access_token": f"{TOKEN} "}),
    "another type": Answer(200, {"access_token": TOKEN, "token_type": SECRET}),
    "too large": Answer(200, TOKEN.encode() * 50_000),
    "for long": throttled(500),
}


@pytest.mark.parametrize("kind", TOKEN_ANSWERS)
async def test_failing_identity_server_does_not_reveal_a_secret(
    server_of_canaries: FakeSchedules, make_session: MakeSession, log: list[str], kind: str
) -> None:
    server = server_of_canaries
    asyncio.get_running_loop().set_debug(enabled=True)
    credentials = server.credentials()
    server.interrupt_tokens(*[TOKEN_ANSWERS[kind]] * 12)
    session = make_session(auth=credentials)
    results = await outcome_of(session, server.script_operation(DONE))
    with pytest.raises(AuthenticationError) as caught:
        await credentials.get_token()
    results.append(caught.value)
    assert {type(result) for result in results} == {AuthenticationError}
    shown = [repr(credentials), str(credentials), repr(session), repr(vars(session))]
    for result in results:
        shown += everything(result)
    assert [text for text in shown + log if shows_secret(text)] == []


async def test_rejected_token_without_renewal_is_not_revealed(
    server_of_canaries: FakeSchedules, make_session: MakeSession, log: list[str]
) -> None:
    """Nor where the caller's own code fails: the library's frames do not contain it."""

    class Vault:
        async def get_token(self, *, rejected: str | None = None) -> str:
            if rejected is None:
                return TOKEN
            del rejected
            raise KeyError("vault")

    server_of_canaries.reject_token(TOKEN)
    results = await outcome_of(make_session(auth=Vault()), server_of_canaries.script_operation(DONE))
    assert {type(result) for result in results} == {AuthenticationError}
    assert [text for result in results for text in everything(result) + log if shows_secret(text)] == []


async def test_checkpoints_and_group_errors_reveal_no_secret(
    server_of_canaries: FakeSchedules, make_session: MakeSession, log: list[str]
) -> None:
    server = server_of_canaries
    session = make_session(auth=server.credentials(), retry=RetryPolicy(attempts=2))
    refs = [server.script_operation(answer) for answer in ANSWERS.values()]
    group = session.wait_for_operations(refs, timeout=20)
    (error,) = await asyncio.gather(group, return_exceptions=True)
    assert isinstance(error, OperationGroupError)
    wait = session.resume(group.checkpoint())
    wait.close()
    shown = [group.checkpoint(), wait.checkpoint(), repr(group), repr(wait), *everything(error)]
    shown += [text for lost in error.exceptions for text in everything(lost)]
    assert [text for text in shown + log if shows_secret(text)] == []


class Broken(dict[OperationRef, Operation]):
    """Snapshots of the caller's own; one of its methods fails."""

    def __init__(self, method: str) -> None:
        super().__init__()
        self.method = method

    def fail_in(self, method: str) -> None:
        if method == self.method:
            raise LookupError("disk full")

    def get(self, ref: OperationRef, default: object = None) -> Any:
        self.fail_in("get")
        return super().get(ref) or default

    def __setitem__(self, ref: OperationRef, operation: Operation) -> None:
        self.fail_in("set")
        super().__setitem__(ref, operation)

    def pop(self, ref: OperationRef, *default: object) -> Any:
        self.fail_in("pop")
        return super().pop(ref, *default)


@pytest.mark.parametrize(("method", "answer"), [("get", DONE), ("set", DONE), ("pop", Answer(404))])
async def test_frames_of_a_failing_mapping_show_no_token(
    server_of_canaries: FakeSchedules, make_session: MakeSession, log: list[str], method: str, answer: Answer
) -> None:
    """What an error reporter reads: the variables in each frame of the traceback, also of what is logged."""
    session = make_session(auth=server_of_canaries.credentials(), snapshots=Broken(method))
    results = await outcome_of(session, server_of_canaries.script_operation(answer))
    assert {type(result) for result in results} == {LookupError}
    assert [text for result in results for text in [*everything(result), *log] if shows_secret(text)] == []


@pytest.mark.parametrize(
    "signal", ["on_request_start", "on_connection_create_start", "on_request_headers_sent", "on_request_end"]
)
async def test_frames_of_failing_trace_config_show_no_token(
    server_of_canaries: FakeSchedules, make_session: MakeSession, log: list[str], signal: str
) -> None:
    async def trace(*arguments: object) -> None:
        del arguments  # they hold the request's headers
        raise LookupError("collector is down")

    config = aiohttp.TraceConfig()
    getattr(config, signal).append(trace)
    async with aiohttp.ClientSession(trace_configs=[config]) as http:
        session = make_session(auth=server_of_canaries.credentials(), http=http)
        results = await outcome_of(session, server_of_canaries.script_operation(DONE))
        await session.close()
    assert {type(result) for result in results} == {LookupError}
    assert [text for result in results for text in [*everything(result), *log] if shows_secret(text)] == []


class BrokenResolver(AbstractResolver):
    """A resolver of the caller's that raises no OSError."""

    async def resolve(self, *_: object, **__: object) -> Never:
        raise LookupError("no zone")

    async def close(self) -> None:
        """Do nothing."""


async def test_frames_of_failing_resolver_show_no_secret(make_session: MakeSession, log: list[str]) -> None:
    connector = aiohttp.TCPConnector(resolver=BrokenResolver())
    async with aiohttp.ClientSession(connector=connector) as http:
        credentials = ClientCredentials(
            "test-client", "test-secret", token_url="http://localhost:1/token", http=http, clock=FakeClock()
        )
        session = make_session(auth=credentials, http=http)
        with pytest.raises(AuthenticationError, match="no zone") as caught:
            await session.get_operation("schedule", "operation")
        await session.close()
    assert [text for text in [*everything(caught.value), *log] if shows_secret(text)] == []


async def test_frames_of_a_failing_hook_show_no_token(
    server_of_canaries: FakeSchedules, make_session: MakeSession
) -> None:
    """The exception of a hook is logged with its traceback."""
    shown: list[str] = []

    class Rendering(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.exc_info and record.exc_info[1]:
                shown.append(render(record.exc_info[1]))

    def fail(_: Event) -> None:
        raise LookupError("collector is down")

    handler = Rendering()
    logging.getLogger("schedules_async").addHandler(handler)
    session = make_session(auth=server_of_canaries.credentials(), hooks=[fail])
    await session.wait_for_operation(*server_of_canaries.script_operation(Answer(401), DONE))
    logging.getLogger("schedules_async").removeHandler(handler)
    assert ["collector is down" in text for text in shown] == [True]
    assert not shows_secret("".join(shown))
