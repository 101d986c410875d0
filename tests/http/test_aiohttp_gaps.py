"""What aiohttp leaves open: unasked bytes, stale connections, and the frames of an exception of the caller's."""

import asyncio
import socket
import struct
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from types import FunctionType
from typing import Any, cast

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler
from event_loops import turns
from raw_servers import serve, to_answer

from schedules_async import OperationRef, SchedulesSession, TransportError
from schedules_async._http.aiohttp_gaps import (
    NotSentError,
    StaleConnectionError,
    _Guard,
    find_callers_error,
    keep_callers_frames,
)
from schedules_async._http.responses import BearerToken
from schedules_async._http.transport import Transport
from schedules_async.testing import FakeClock, FakeSchedules, operation_answer

REF = OperationRef("schedule", "operation")
TOKEN = BearerToken("token")
DONE = operation_answer("Succeeded")


async def test_bytes_between_two_requests_cut_the_connection(clock: FakeClock) -> None:
    """A server can neither fill the memory there nor answer what was never asked."""
    is_answered, percents = asyncio.Event(), iter([10, 20])

    async def answer_and_go_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(to_answer(next(percents)))
        await is_answered.wait()
        with suppress(ConnectionError):
            writer.write(to_answer(99))
            await reader.read()
        is_cut.set()

    async with serve(answer_and_go_on) as url, SchedulesSession("token", base_url=url, clock=clock) as session:
        for percent in (10, 20):
            is_cut = asyncio.Event()
            assert (await session.get_operation(*REF)).percent_complete == percent
            is_answered.set()
            await asyncio.wait_for(is_cut.wait(), 30)
        assert (session.stats.requests, session.stats.retried) == (2, 0)


async def test_bytes_after_an_answer_are_never_the_next(clock: FakeClock) -> None:
    percents = iter([10, 20])

    async def answer_twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answer = to_answer(next(percents))
        writer.write(answer[:-9])
        await turns(20)
        writer.write(answer[-9:] + to_answer(99))
        await reader.read()

    async with serve(answer_twice) as url, SchedulesSession("token", base_url=url, clock=clock) as session:
        assert [(await session.get_operation(*REF)).percent_complete for _ in range(2)] == [10, 20]
        assert (session.stats.requests, session.stats.retried) == (2, 0)


async def test_kept_connection_closed_by_server_is_not_reused(clock: FakeClock) -> None:
    async def answer_once(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(to_answer(10))
        await turns(20)
        writer.close()

    async with serve(answer_once) as url, SchedulesSession("token", base_url=url, clock=clock) as session:
        for _ in range(3):
            await session.get_operation(*REF)
            while any(handler.is_connected() for handler in kept_alive(vars(session)["_transport"]._http)):
                await turns(1)
        assert (session.stats.requests, session.stats.retried) == (3, 0)


@asynccontextmanager
async def open_transport(
    url: str, may_leave: Callable[[], bool] = lambda: True, borrowed: aiohttp.ClientSession | None = None
) -> AsyncIterator[Transport]:
    transport = Transport(url, 30.0, borrowed, may_leave)
    try:
        yield transport
    finally:
        await transport.aclose()


async def cut_off(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def answer_and_cut_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the first request, and close the connection once the second has come."""
    writer.write(to_answer(10))
    await reader.readuntil(b"\r\n\r\n")
    writer.close()


async def answer_and_reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As above, but reset the connection."""
    writer.write(to_answer(10))
    await reader.readuntil(b"\r\n\r\n")
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def answer_and_stammer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As above, with the beginning of an answer."""
    writer.write(to_answer(10))
    await reader.readuntil(b"\r\n\r\n")
    writer.write(to_answer(20)[:20])
    writer.close()


@pytest.mark.parametrize("talk", [answer_and_cut_off, answer_and_reset])
async def test_lost_kept_alive_connection_is_stale(
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> None:
    """Aiohttp does not send the request again by itself."""
    async with serve(talk) as url, open_transport(url) as transport:
        assert (await transport.get(REF, TOKEN, None)).status == 200
        with pytest.raises(StaleConnectionError):
            await transport.get(REF, TOKEN, None)


async def test_lost_connection_after_an_answer_began_is_fault() -> None:
    async with serve(answer_and_stammer) as url, open_transport(url) as transport:
        assert (await transport.get(REF, TOKEN, None)).status == 200
        with pytest.raises(TransportError):
            await transport.get(REF, TOKEN, None)


async def test_lost_new_connection_is_a_fault() -> None:
    async with serve(cut_off) as url, open_transport(url) as transport:
        with pytest.raises(TransportError):
            await transport.get(REF, TOKEN, None)


async def test_request_that_may_not_leave_is_not_sent(server: FakeSchedules) -> None:
    async with open_transport(server.url, may_leave=lambda: False) as transport:
        with pytest.raises(NotSentError):
            await transport.get(REF, TOKEN, None)
    assert server.requests == []


class Recorder:
    """Records the calls of any of its methods."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments: self.calls.append((name, *arguments))


def make_guard() -> tuple[_Guard, Recorder, Recorder]:
    transport, protocol = Recorder(), Recorder()
    return _Guard(cast("Any", transport), cast("Any", protocol)), transport, protocol


def test_guard_passes_everything_on_during_a_request() -> None:
    guard, transport, protocol = make_guard()
    lost = ConnectionResetError()
    guard.data_received(b"answer")
    guard.pause_writing()
    guard.resume_writing()
    guard.eof_received()
    guard.connection_lost(lost)
    assert protocol.calls == [
        ("data_received", b"answer"),
        ("pause_writing",),
        ("resume_writing",),
        ("eof_received",),
        ("connection_lost", lost),
    ]
    assert transport.calls == []


def test_guard_aborts_on_bytes_between_two_requests() -> None:
    guard, transport, protocol = make_guard()
    guard.rest()
    guard.data_received(b"unasked")
    assert (transport.calls, protocol.calls) == ([("abort",)], [])


@pytest.mark.parametrize(("is_borrowed", "expected"), [(False, _Guard), (True, ResponseHandler)])
async def test_own_connections_are_guarded_not_borrowed_ones(
    server: FakeSchedules, *, is_borrowed: bool, expected: type
) -> None:
    server.script_operation(DONE, schedule_id=REF.schedule_id, operation_id=REF.operation_id)
    async with (
        aiohttp.ClientSession() as http,
        open_transport(server.url, borrowed=http if is_borrowed else None) as transport,
    ):
        for _ in range(2):
            await transport.get(REF, BearerToken(server.token), None)
        used = http if is_borrowed else transport._http
        assert used is not None
        assert [type(handler.transport.get_protocol()) for handler in kept_alive(used)] == [expected]


def kept_alive(http: aiohttp.ClientSession) -> list[Any]:
    """Return the handlers of the kept-alive connections, and of those that the server has closed since."""
    connector: Any = http.connector
    return [handler for kept in connector._conns.values() for handler, _ in kept]


def call(function: Callable[[], None]) -> None:
    function()


def call_in(module: str, function: Callable[[], None]) -> None:
    """Call a function in a frame of a module of this name."""
    FunctionType(call.__code__, {"__name__": module})(function)


def fail() -> None:
    raise LookupError("collector is down")


@pytest.mark.parametrize(
    ("module", "expected"), [("aiosignal", True), ("aiosignals", False), ("aiohttp.client", False)]
)
def test_error_through_a_signal_is_from_trace_config(module: str, *, expected: bool) -> None:
    with pytest.raises(LookupError) as caught:
        call_in(module, fail)
    assert (find_callers_error(caught.value) is caught.value) is expected


def test_error_never_raised_is_from_no_trace_config() -> None:
    assert find_callers_error(LookupError()) is None


def wrap(error: BaseException, *, is_cause: bool) -> BaseException:
    """Return an exception that was raised from or during another one, which refers back to it."""
    wrapper = OSError()
    wrapper.__cause__, wrapper.__context__ = (error, None) if is_cause else (None, error)
    error.__context__ = wrapper
    return wrapper


@pytest.mark.parametrize("is_cause", [True, False])
@pytest.mark.parametrize(("module", "expected"), [("aiosignal", True), ("aiohttp.client", False)])
def test_wrapped_error_of_trace_config_is_found(module: str, *, expected: bool, is_cause: bool) -> None:
    """Though the chain is a cycle."""
    with pytest.raises(LookupError) as caught:
        call_in(module, fail)
    assert find_callers_error(wrap(caught.value, is_cause=is_cause)) is (caught.value if expected else None)


def modules_of(error: BaseException) -> list[str]:
    return [frame.f_globals["__name__"] for frame, _ in traceback.walk_tb(error.__traceback__)]


def test_callers_frames_are_kept_in_order() -> None:
    """Frames of aiohttp, of its signals and of this library hold the token."""
    function = fail
    for module in ("collector", "aiosignal", "other", "aiohttp.client", "schedules_async._http.transport", "aiohttps"):
        function = partial(call_in, module, function)
    with pytest.raises(LookupError) as caught:
        function()
    before = modules_of(caught.value)
    keep_callers_frames(caught.value)
    dropped = {"aiosignal", "aiohttp.client", "schedules_async._http.transport"}
    assert dropped < {*before}
    assert modules_of(caught.value) == [name for name in before if name not in dropped]


def test_error_without_frames_keeps_none() -> None:
    error = LookupError()
    keep_callers_frames(error)
    assert error.__traceback__ is None


def raised_in(*modules: str) -> BaseException:
    """Return an exception with frames of these modules, of which the first is the outermost."""
    function = fail
    for module in reversed(modules):
        function = partial(call_in, module, function)
    with pytest.raises(LookupError) as caught:
        function()
    error = caught.value
    while modules_of(error)[0] != modules[0]:
        assert error.__traceback__ is not None
        error.__traceback__ = error.__traceback__.tb_next
    return error


@pytest.mark.parametrize(
    ("modules", "is_kept"),
    [
        (("aiohttp.client", "aiohttp.connector"), False),
        (("aiohttp.client", "aiosignal", "collector"), True),
        (("collector", "aiohttp.client"), True),
    ],
)
def test_chain_loses_token_and_faults_of_aiohttp(modules: tuple[str, ...], *, is_kept: bool) -> None:
    error, inner = LookupError(), raised_in(*modules)
    error.__context__ = inner
    inner.__cause__ = error
    keep_callers_frames(error)
    assert (error.__context__ is inner) is is_kept
    assert not is_kept or not {"aiohttp.client", "aiosignal"} & {*modules_of(inner)}
