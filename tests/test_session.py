"""The session: its options, single fetches, and what it leaves behind."""

import asyncio
import gc
import pickle
import traceback
import warnings
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
from event_loops import turns
from sessions import UNLIMITED, MakeSession, traced_session
from yarl import URL

from schedules_async import (
    DEV,
    AuthenticationError,
    MalformedResponseError,
    NotFoundError,
    Operation,
    OperationRef,
    PollingPolicy,
    RateLimit,
    ResponseError,
    RetryPolicy,
    SchedulesSession,
    ServerError,
    SessionClosedError,
    TransportError,
)
from schedules_async._session import RecentSnapshots
from schedules_async.testing import (
    Answer,
    FakeClock,
    FakeSchedules,
    cut_body,
    fault,
    not_modified,
    operation_answer,
    reset,
    stall,
    throttled,
)

CANARY = "canary-token-that-must-not-be-shown"
DONE = operation_answer("Succeeded")


def started(percent: float, etag: str | None = None) -> Answer:
    return operation_answer("Started", percent_complete=percent, etag=etag)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"auth": ""}, ValueError, "unusable token"),
        ({"auth": "Bearer x"}, ValueError, "unusable token"),
        ({"auth": 5}, TypeError, "auth"),
        ({"base_url": "http://example.com"}, ValueError, "https"),
        ({"base_url": "ftp://localhost"}, ValueError, "https"),
        ({"base_url": "/schedules"}, ValueError, "absolute"),
        ({"base_url": "https://user:word@example.com"}, ValueError, "credentials"),
        ({"base_url": "https://example.com/?q=1"}, ValueError, "query"),
        ({"base_url": 5}, TypeError, "base_url"),
        ({"polling": 5}, TypeError, "polling"),
        ({"retry": 5}, TypeError, "retry"),
        ({"rate_limits": [(1, 2)]}, TypeError, "rate_limits"),
        ({"rate_limits": RateLimit(1, 2)}, TypeError, "rate_limits must be a sequence"),
        ({"rate_limits": 5}, TypeError, "rate_limits must be a sequence"),
        ({"request_timeout": 0}, ValueError, "request_timeout"),
        ({"request_timeout": "5"}, TypeError, "seconds"),
        ({"request_timeout": 10**400}, ValueError, "too large"),
        ({"hooks": 5}, TypeError, "hooks"),
        ({"hooks": [5]}, TypeError, "hooks"),
        ({"http": "no session"}, TypeError, "http"),
        ({"snapshots": []}, TypeError, "snapshots"),
        ({"clock": 5}, TypeError, "clock"),
        ({"clock": FakeClock}, TypeError, "clock"),
    ],
)
def test_unusable_option_is_an_error_at_once(options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text) as caught:
        SchedulesSession(options.pop("auth", "token"), **options)
    assert "word" not in str(caught.value)


@pytest.mark.parametrize(
    "base_url",
    [
        DEV.api_url,
        URL("https://example.com/with/prefix/"),
        "http://localhost:8080",
        "http://127.0.0.2",
        "http://[::1]:8080/x",
        "https://[2001:db8::1]/",
    ],
)
def test_base_url_may_be_https_or_loopback(base_url: str | URL) -> None:
    assert str(base_url).rstrip("/") in repr(SchedulesSession(CANARY, base_url=base_url))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"timeout": -1}, ValueError),
        ({"timeout": float("nan")}, ValueError),
        ({"timeout": "5"}, TypeError),
        ({"stall_timeout": -1}, ValueError),
        ({"timeout": 10**400}, ValueError),
        ({"stall_timeout": 10**400}, ValueError),
        ({"polling": 1.0}, TypeError),
    ],
)
def test_unusable_option_of_a_wait_is_an_error(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        repr(SchedulesSession("token").wait_for_operation("schedule", "operation", **options))


@pytest.mark.parametrize("bad", ["", ".", ".."])
async def test_id_of_another_resource_is_an_error(session: SchedulesSession, server: FakeSchedules, bad: str) -> None:
    for ids in ((bad, "operation"), ("schedule", bad)):
        with pytest.raises(ValueError, match="must not be"):
            await session.get_operation(*ids)
        with pytest.raises(ValueError, match="must not be"):
            repr(session.wait_for_operation(*ids))
    assert server.requests == []


@pytest.mark.parametrize("odd", ["a/b", "a#b?c", "%2e%2e", "ö ü", "..;", "a%b", "\x00"])
async def test_id_is_encoded_as_one_segment(session: SchedulesSession, server: FakeSchedules, odd: str) -> None:
    server.script_operation(DONE, schedule_id=odd, operation_id=odd)
    assert (await session.get_operation(odd, odd)).ref == OperationRef(odd, odd)


async def test_request_carries_the_headers_of_the_vendor(session: SchedulesSession, server: FakeSchedules) -> None:
    await session.get_operation(*server.script_operation(DONE))
    headers = server.requests[0].headers
    assert headers["Accept"] == "application/vnd.bentley.itwin-platform.v1+json"
    assert headers["User-Agent"].startswith("schedules-async/")
    assert headers["Authorization"] == f"Bearer {server.token}"
    assert "Cookie" not in headers


async def test_base_url_may_carry_a_prefix(make_session: MakeSession, clock: FakeClock) -> None:
    async with FakeSchedules(clock=clock, prefix="/gateway/v1") as server:
        session = make_session(auth=server.token, base_url=server.url + "/")
        assert (await session.get_operation(*server.script_operation(DONE))).is_succeeded
        await session.close()


async def test_fetch_is_never_answered_from_memory(session: SchedulesSession, server: FakeSchedules) -> None:
    fresh = Answer(200, started(10).body, {"ETag": '"E1"', "Cache-Control": "max-age=3600"})
    ref = server.script_operation(fresh, not_modified('W/"E1"'))
    first = await session.get_operation(*ref)
    assert await session.get_operation(*ref) is first
    assert [request.if_none_match for request in server.requests] == [None, '"E1"']


async def test_no_store_keeps_no_snapshot(session: SchedulesSession, server: FakeSchedules) -> None:
    secret = Answer(200, started(10).body, {"ETag": '"E1"', "Cache-Control": "private, No-Store"})
    ref = server.script_operation(secret)
    await session.get_operation(*ref)
    await session.get_operation(*ref)
    assert [request.if_none_match for request in server.requests] == [None, None]


async def test_answer_without_tag_ends_conditional_requests(session: SchedulesSession, server: FakeSchedules) -> None:
    ref = server.script_operation(started(1, '"E1"'), started(2), started(3, 'W/"E3"'), not_modified())
    percents = [(await session.get_operation(*ref)).percent_complete for _ in range(4)]
    assert percents == [1, 2, 3, 3]
    assert [request.if_none_match for request in server.requests] == [None, '"E1"', None, 'W/"E3"']


async def test_unusable_304_is_repeated_once_unconditionally(session: SchedulesSession, server: FakeSchedules) -> None:
    ref = server.script_operation(started(1, '"E1"'), not_modified('"other"'), started(2, '"E2"'), not_modified('"no"'))
    assert (await session.get_operation(*ref)).percent_complete == 1
    assert (await session.get_operation(*ref)).percent_complete == 2
    with pytest.raises(MalformedResponseError, match="304") as caught:
        await session.get_operation(*ref)
    assert caught.value.ref == ref
    assert [request.if_none_match for request in server.requests] == [None, '"E1"', None, '"E2"', None]


async def test_only_a_404_drops_the_snapshot(make_session: MakeSession, server: FakeSchedules) -> None:
    session = make_session(retry=RetryPolicy(attempts=1))
    ref = server.script_operation(
        started(1, '"E1"'), fault(500), cut_body(), Answer(404), started(2, '"E2"'), Answer(403), not_modified()
    )
    for expected in (None, ServerError, TransportError, NotFoundError, None, ResponseError, None):
        if expected is None:
            await session.get_operation(*ref)
        else:
            with pytest.raises(expected):
                await session.get_operation(*ref)
    tags = [request.if_none_match for request in server.requests]
    assert tags == [None, '"E1"', '"E1"', '"E1"', None, '"E2"', '"E2"']


async def test_snapshots_may_be_kept_by_the_caller(make_session: MakeSession, server: FakeSchedules) -> None:
    kept: dict[OperationRef, Operation] = {}
    ref = server.script_operation(started(1, '"E1"'), not_modified())
    operation = await make_session(snapshots=kept).get_operation(*ref)
    assert kept == {ref: operation}
    assert await make_session(snapshots=kept).get_operation(*ref) is operation


def test_least_recently_used_snapshot_is_dropped() -> None:
    in_use = 0
    snapshots = RecentSnapshots(lambda: in_use)
    operation = Operation.from_json('{"operation": {"id": "o", "status": "Queued"}}', "s")
    refs = [OperationRef("s", str(number)) for number in range(10_001)]
    for ref in refs[:10_000]:
        snapshots[ref] = operation
    assert snapshots.get(refs[0]) is operation
    snapshots[refs[10_000]] = operation
    assert len(snapshots) == 10_000
    assert refs[0] in snapshots
    assert refs[1] not in snapshots
    del snapshots[refs[2]]
    assert len(list(snapshots)) == 9_999
    in_use = 2  # pollers in use come on top
    for ref in refs[:4]:
        snapshots[ref] = operation
    assert len(snapshots) == 10_001
    in_use = 0
    snapshots[refs[0]] = operation
    assert len(snapshots) == 10_000


async def test_more_snapshots_are_kept_while_in_use(session: SchedulesSession, server: FakeSchedules) -> None:
    """10,000, and those of the operations in use."""
    held = Operation.from_json('{"operation": {"id": "o", "status": "Queued"}}', "s")
    session._snapshots.update((OperationRef("s", str(number)), held) for number in range(9_999))
    refs = [server.script_operation(started(10)) for _ in range(3)]
    iterations = [aiter(session.wait_for_operation(*ref)) for ref in refs]
    for changes in iterations:
        await anext(changes)
    assert len(session._snapshots) == 10_002
    del changes
    iterations.clear()
    await turns(5)
    await session.get_operation(*server.script_operation(DONE))
    assert len(session._snapshots) == 10_001


def forms_of(ref: OperationRef) -> list[Any]:
    return [ref, tuple(ref), str(ref), f"https://api.bentley.com{ref.path}"]


@pytest.mark.parametrize("form", range(4))
async def test_one_argument_names_an_operation(session: SchedulesSession, server: FakeSchedules, form: int) -> None:
    ref = server.script_operation(DONE)
    argument = forms_of(ref)[form]
    assert (await session.get_operation(argument)).ref == ref
    assert (await session.wait_for_operation(argument)).ref == ref


@pytest.mark.parametrize("argument", ["schedule", ("schedule",), "https://example.com/", "", 5])
async def test_argument_that_names_no_operation_is_an_error(session: SchedulesSession, argument: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        await session.get_operation(argument)


async def test_overlapping_calls_share_one_request(session: SchedulesSession, server: FakeSchedules) -> None:
    ref = server.script_operation(fault(), started(10))
    calls = [asyncio.create_task(session.get_operation(*ref)) for _ in range(5)]
    await turns(3)
    calls[0].cancel()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert len({id(result) for result in results[1:]}) == 1
    assert len(server.requests) == 2


async def test_fetch_feeds_the_wait_for_its_operation(
    make_session: MakeSession, server: FakeSchedules, clock: FakeClock
) -> None:
    session = make_session(polling=PollingPolicy.fixed(100))
    ref = server.script_operation(started(10), DONE)
    changes = aiter(session.wait_for_operation(*ref))
    await anext(changes)
    await clock.sleep(30)
    operation = await session.get_operation(*ref)
    assert await anext(changes) is operation
    assert (clock.monotonic(), len(server.requests)) == (30, 2)


async def test_cancelled_fetch_leaves_the_wait_alone(make_session: MakeSession, server: FakeSchedules) -> None:
    session = make_session(polling=PollingPolicy.fixed(100), rate_limits=[RateLimit(1, 10)])
    ref = server.script_operation(started(10), DONE)
    changes = aiter(session.wait_for_operation(*ref))
    await anext(changes)
    call = asyncio.create_task(session.get_operation(*ref))
    await turns(3)
    call.cancel()
    assert (await anext(changes)).is_succeeded
    assert len(server.requests) == 2


@pytest.mark.parametrize("status", [301, 302, 307])
async def test_redirects_are_never_followed(session: SchedulesSession, server: FakeSchedules, status: int) -> None:
    other = server.script_operation(DONE)
    ref = server.script_operation(Answer(status, headers={"Location": server.url + other.path}))
    with pytest.raises(ResponseError) as caught:
        await session.get_operation(*ref)
    assert caught.value.status == status
    assert len(server.requests) == 1


async def test_no_cookie_is_kept(session: SchedulesSession, server: FakeSchedules) -> None:
    ref = server.script_operation(Answer(200, started(1).body, {"Set-Cookie": "a=b"}), DONE)
    await session.get_operation(*ref)
    await session.get_operation(*ref)
    assert "Cookie" not in server.requests[1].headers


async def test_borrowed_session_lends_its_connector_only(make_session: MakeSession, server: FakeSchedules) -> None:
    async with aiohttp.ClientSession(
        headers={"X-Own": "1"}, cookies={"a": "b"}, raise_for_status=True, timeout=aiohttp.ClientTimeout(total=1e-9)
    ) as http:
        session = make_session(http=http)
        ref = server.script_operation(Answer(404), DONE)
        with pytest.raises(NotFoundError):
            await session.get_operation(*ref)
        await session.get_operation(*ref)
        await session.close()
        assert not http.closed
        assert http.connector is not None
        assert not http.connector.closed
        assert all("X-Own" not in request.headers and "Cookie" not in request.headers for request in server.requests)
    with pytest.raises(ValueError, match="closed"):
        make_session(http=http)


async def test_closed_borrowed_session_is_not_replaced(server: FakeSchedules, clock: FakeClock) -> None:
    """By a connector of our own, without the caller's certificates: it is a fault."""
    http = aiohttp.ClientSession()
    async with SchedulesSession(server.token, base_url=server.url, http=http, clock=clock) as session:
        await http.close()
        with pytest.raises(TransportError, match="borrowed http session is closed"):
            await session.get_operation(*server.script_operation(DONE))
    assert server.requests == []


async def test_http_of_another_loop_fails_at_once(server: FakeSchedules) -> None:
    async def make() -> aiohttp.ClientSession:
        return aiohttp.ClientSession()

    other = asyncio.new_event_loop()
    http = await asyncio.to_thread(other.run_until_complete, make())
    async with server.session(http=http) as session:
        with pytest.raises(TransportError, match="same event loop"):
            await session.wait_for_operation(*server.start_operation(duration=0))
    assert (session.stats.retried, server.requests) == (0, [])
    await asyncio.to_thread(other.run_until_complete, http.close())
    other.close()


async def test_fixed_token_is_not_repeated_after_401(make_session: MakeSession, server: FakeSchedules) -> None:
    ref = server.script_operation(DONE)
    with pytest.raises(AuthenticationError) as caught:
        await make_session(auth="another-token").get_operation(*ref)
    assert (caught.value.status, caught.value.code, caught.value.ref) == (401, "InvalidToken", ref)
    assert len(server.requests) == 1


async def test_function_is_called_once_more_after_401(make_session: MakeSession, server: FakeSchedules) -> None:
    tokens = iter(["old-token", server.token, "bad-1", "bad-2"])

    async def get_token() -> str:
        return next(tokens)

    session = make_session(auth=get_token)
    ref = server.script_operation(DONE)
    assert (await session.get_operation(*ref)).is_succeeded
    with pytest.raises(AuthenticationError):
        await session.get_operation(*ref)
    assert len(server.requests) == 4


async def test_rejected_token_returned_again_is_not_repeated(make_session: MakeSession, server: FakeSchedules) -> None:
    async def get_token() -> str:
        return "old-token"

    with pytest.raises(AuthenticationError) as caught:
        await make_session(auth=get_token).get_operation(*server.script_operation(DONE))
    assert caught.value.status == 401
    assert len(server.requests) == 1


async def test_provider_receives_the_rejected_token(make_session: MakeSession, server: FakeSchedules) -> None:
    class Provider:
        rejected: list[str | None]

        def __init__(self) -> None:
            self.rejected = []

        async def get_token(self, *, rejected: str | None = None) -> str:
            self.rejected.append(rejected)
            return "old-token" if rejected is None else server.token

    provider = Provider()
    await make_session(auth=provider).get_operation(*server.script_operation(DONE))
    assert provider.rejected == [None, "old-token"]


async def test_many_401_renew_the_token_once(make_session: MakeSession, server: FakeSchedules) -> None:
    """Also where the provider renews at every call with a rejected token."""
    renewals = []

    class Provider:
        token = "old-token"

        async def get_token(self, *, rejected: str | None = None) -> str:
            if rejected is not None:
                renewals.append(rejected)
                server.token = self.token = f"token-{len(renewals)}"
            return self.token

    session = make_session(auth=Provider())
    refs = [server.script_operation(operation_answer("Succeeded", delay=number % 3)) for number in range(30)]
    results = await asyncio.gather(*(session.get_operation(*ref) for ref in refs))
    assert all(operation.is_succeeded for operation in results)
    assert renewals == ["old-token"]


async def test_request_without_token_is_not_sent(make_session: MakeSession, server: FakeSchedules) -> None:
    async def fail() -> str:
        raise KeyError("vault")

    async def give_nonsense() -> str:
        return "two words"

    with pytest.raises(AuthenticationError) as caught:
        await make_session(auth=fail).get_operation("s", "o")
    assert isinstance(caught.value.__cause__, KeyError)
    with pytest.raises(ValueError, match="unusable") as unusable:
        await make_session(auth=give_nonsense).wait_for_operation("s", "o")
    assert "two words" not in str(unusable.value)
    assert server.requests == []


async def test_last_attempt_of_a_fetch_raises_its_error(make_session: MakeSession, server: FakeSchedules) -> None:
    session = make_session(retry=RetryPolicy(attempts=3))
    ref = server.script_operation(fault(500), fault(502), fault(503, correlation_id="c-9"), DONE)
    with pytest.raises(ServerError) as caught:
        await session.get_operation(*ref)
    assert (caught.value.status, caught.value.correlation_id, caught.value.ref) == (503, "c-9", ref)
    assert session.stats.retried == 2
    assert len(server.requests) == 3


@pytest.mark.parametrize("status", [400, 403, 406, 415, 501, 505, 600])
async def test_lasting_error_is_not_retried(session: SchedulesSession, server: FakeSchedules, status: int) -> None:
    with pytest.raises(ResponseError):
        await session.get_operation(*server.script_operation(fault(status)))
    assert len(server.requests) == 1


async def test_fault_with_retry_after_delays_the_retry(
    session: SchedulesSession, server: FakeSchedules, clock: FakeClock
) -> None:
    await session.get_operation(*server.script_operation(fault(500, retry_after=90), DONE))
    assert clock.monotonic() >= 90
    with pytest.raises(ServerError):
        await session.get_operation(*server.script_operation(fault(500, retry_after=900), DONE))


async def test_exception_of_the_mapping_reaches_the_caller(
    make_session: MakeSession, server: FakeSchedules, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(dict[OperationRef, Operation]):
        def __setitem__(self, ref: OperationRef, operation: Operation) -> None:
            raise LookupError("disk gone")

    ref = server.script_operation(DONE)
    with pytest.raises(LookupError, match="disk gone"):
        await make_session(snapshots=Broken()).get_operation(*ref)
    assert "LookupError('disk gone')" in caplog.text


async def test_cancelled_error_of_the_mapping_is_runtime_error(
    make_session: MakeSession, server: FakeSchedules
) -> None:
    class Broken(dict[OperationRef, Operation]):
        def get(self, ref: OperationRef, default: Any = None) -> Any:
            raise asyncio.CancelledError(ref, default)

    with pytest.raises(RuntimeError, match="raised CancelledError"):
        await make_session(snapshots=Broken()).get_operation(*server.script_operation(DONE))


async def test_failing_mapping_uses_up_no_rate_limit(make_session: MakeSession, server: FakeSchedules) -> None:
    class Broken(dict[OperationRef, Operation]):
        is_broken = True

        def get(self, ref: OperationRef, default: Any = None) -> Any:
            if self.is_broken:
                raise LookupError("store down")
            return super().get(ref, default)

    store = Broken()
    session = make_session(snapshots=store, rate_limits=[RateLimit(2, 1)])
    ref = server.script_operation(DONE)
    for _ in range(3):
        with pytest.raises(LookupError):
            await session.get_operation(*ref)
    store.is_broken = False
    assert (await session.get_operation(*ref)).is_succeeded


async def test_connecting_request_stays_behind_a_closed_gate(server: FakeSchedules, clock: FakeClock) -> None:
    """Here for want of a connection; with many it is the name server or the handshake that takes long."""
    refs = [server.script_operation(throttled(10, delay=1), DONE)] + [server.script_operation(DONE) for _ in range(4)]
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as http,
        SchedulesSession(server.token, base_url=server.url, clock=clock, rate_limits=UNLIMITED, http=http) as session,
    ):
        await asyncio.gather(*(session.get_operation(*ref) for ref in refs))
    times = [request.time for request in server.requests]
    assert times[0] == 0
    assert min(times[1:]) >= 11
    assert session.stats.requests == len(server.requests) == 6


async def test_error_with_its_own_constructor_reaches_everybody(make_session: MakeSession) -> None:
    class OwnError(AuthenticationError):
        def __init__(self, vault: str, shelf: str) -> None:
            super().__init__(f"{vault}/{shelf}")

    async def get_token() -> str:
        raise OwnError("vault", "shelf")

    session = make_session(auth=get_token)
    results = await asyncio.gather(*(session.get_operation("s", "o") for _ in range(2)), return_exceptions=True)
    assert [type(result) for result in results] == [OwnError, OwnError]
    assert results[0] is not results[1]


async def test_cancelled_close_still_closes_the_connections(server: FakeSchedules) -> None:
    session = SchedulesSession(server.token, base_url=server.url)
    call = asyncio.create_task(session.get_operation(*server.script_operation(stall())))
    while not server.requests:
        await turns(1)
    closing = asyncio.create_task(session.close())
    await turns(1)
    closing.cancel()
    results = await asyncio.gather(closing, call, return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError, SessionClosedError]
    await until_no_connection(server)


async def test_closed_session_ends_calls_and_rejects_others(make_session: MakeSession, server: FakeSchedules) -> None:
    session = make_session()
    async with session:
        calls = [asyncio.create_task(session.get_operation("s", str(number))) for number in range(3)]
        await turns(2)
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(result, SessionClosedError) for result in results)
    with pytest.raises(SessionClosedError):
        await session.get_operation("s", "o")
    with pytest.raises(SessionClosedError):
        async with session:
            pass
    await session.close()
    assert "closed" in repr(session)
    await until_no_connection(server)


def test_session_rejects_calls_on_another_loop() -> None:
    session = SchedulesSession("token", base_url="http://127.0.0.1:1", retry=RetryPolicy(attempts=1))

    async def use() -> None:
        with pytest.raises(TransportError):
            await session.get_operation("s", "o")

    async def use_again() -> None:
        with pytest.raises(ValueError, match="one event loop"):
            await session.get_operation("s", "o")

    async def close() -> None:
        await use()
        await asyncio.to_thread(asyncio.run, use_again())
        await session.close()

    asyncio.run(close())


async def test_session_and_errors_show_no_token(
    make_session: MakeSession, server: FakeSchedules, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    server.token = CANARY
    session = make_session(auth=CANARY, retry=RetryPolicy(attempts=1))
    refs = [server.script_operation(answer) for answer in (DONE, reset(), fault(500), Answer(401), throttled(500))]
    results = await asyncio.gather(*[session.get_operation(*ref) for ref in refs], return_exceptions=True)
    wait = session.wait_for_operation("s", "o")
    wait.close()
    shown = [repr(session), repr(wait), caplog.text]
    for result in results:
        cause = getattr(result, "__cause__", None)
        shown += [repr(result), str(vars(result) if isinstance(result, Exception) else result), repr(cause)]
        assert getattr(result, "__context__", None) in (None, cause)  # None on uvloop
    assert not [text for text in shown if CANARY in text]


def test_session_cannot_be_pickled() -> None:
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(SchedulesSession(CANARY))


@pytest.mark.parametrize("form", ["await", "iterate", "get"])
async def test_use_cancelled_at_any_point_leaves_nothing(form: str) -> None:
    """Each turn of the event loop is a point at which a wait can end: all of them are tried, one after the other."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    clock = FakeClock()

    async def use(session: SchedulesSession, ref: OperationRef) -> None:
        if form == "await":
            await session.wait_for_operation(*ref, timeout=50, stall_timeout=40)
        elif form == "get":
            await session.get_operation(*ref)
        else:
            async for _ in session.wait_for_operation(*ref, timeout=50):
                pass

    async with FakeSchedules(clock=clock) as server:
        was_done, point = False, 0
        while not was_done:
            script = [throttled(1), fault(503), started(10, '"E1"'), reset(), not_modified(), DONE]
            ref = server.script_operation(*script)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                async with server.session(rate_limits=UNLIMITED, polling=PollingPolicy.fixed(1)) as session:
                    task = asyncio.create_task(use(session, ref))
                    await turns(point)
                    was_done = task.done()
                    task.cancel()
                    await asyncio.wait({task})
            assert own_tasks() == []
            assert clock.sleeping == 0
            point += 1 if point < 60 else 37
        await until_no_connection(server)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gc.collect()
    assert complaints == []
    assert point > 60


def own_tasks() -> list[str]:
    """Describe the engine's tasks; the fake server's run on the same loop."""
    return [text for text in map(repr, asyncio.all_tasks()) if "/schedules_async/_" in text]


async def until_no_connection(server: FakeSchedules) -> None:
    """Fail by timeout unless the server loses all its connections."""
    async with asyncio.timeout(30):
        await anext(turn async for turn in turning() if server.open_connections == 0)


async def turning() -> AsyncIterator[None]:
    while True:
        await asyncio.sleep(0)
        yield


async def test_seconds_may_be_timedeltas(server: FakeSchedules, clock: FakeClock) -> None:
    async with server.session(
        request_timeout=timedelta(seconds=30),
        polling=PollingPolicy.fixed(timedelta(seconds=2)),
        rate_limits=[RateLimit(100, timedelta(seconds=1))],
    ) as session:
        ref = server.script_operation(started(1), DONE)
        await session.wait_for_operation(*ref, timeout=timedelta(minutes=1))
    assert clock.monotonic() == 2


async def test_cancelled_close_may_be_repeated(make_session: MakeSession, server: FakeSchedules) -> None:
    session = make_session()
    wait = asyncio.create_task(session.wait_for_operation(*server.script_operation(stall()), timeout=1000))
    await turns(30)
    closing = asyncio.create_task(session.close())
    await turns(1)
    closing.cancel()
    await asyncio.wait({closing})
    await session.close()
    assert own_tasks() == []
    with pytest.raises(SessionClosedError):
        await wait


def test_iteration_that_outlives_its_loop_is_harmless() -> None:
    """The session was never closed; dropping what is left of it raises nothing and warns of nothing of ours."""
    left: list[Any] = []

    async def leave_open() -> None:
        async with FakeSchedules() as server:
            http = aiohttp.ClientSession()
            session = SchedulesSession(server.token, base_url=server.url, http=http)
            for _ in range(2):
                changes = aiter(session.wait_for_operation(*server.script_operation(started(10)), timeout=100))
                await anext(changes)
                left.append(changes)
            await http.close()

    asyncio.run(leave_open())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        left.pop(0)
        left.clear()


async def test_cancelled_error_of_token_function_is_authentication_error(make_session: MakeSession) -> None:
    async def get_token() -> str:
        raise asyncio.CancelledError

    with pytest.raises(AuthenticationError) as caught:
        await make_session(auth=get_token).get_operation("s", "o")
    assert isinstance(caught.value.__cause__, asyncio.CancelledError)
    assert caught.value.ref == OperationRef("s", "o")


async def test_fetch_cancelled_while_waiting_for_token_is_cancelled(make_session: MakeSession) -> None:
    async def hang() -> str:
        await asyncio.get_running_loop().create_future()
        return "token"

    call = asyncio.create_task(make_session(auth=hang).get_operation("s", "o"))
    await turns(5)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


@pytest.mark.parametrize("value", [PollingPolicy, RetryPolicy])
def test_seconds_too_large_for_floats_are_an_error(value: type[PollingPolicy | RetryPolicy]) -> None:
    name = "max_interval" if value is PollingPolicy else "max_pause"
    with pytest.raises(ValueError, match="too large"):
        value(**{name: 10**400})
    with pytest.raises(ValueError, match="too large"):
        RateLimit(1, 10**400)


async def test_close_on_another_loop_is_rejected_and_harmless(session: SchedulesSession, server: FakeSchedules) -> None:
    """The waits on the session's own loop go on."""
    wait = asyncio.create_task(session.wait_for_operation(*server.script_operation(started(10), DONE)))
    await turns(3)
    with pytest.raises(ValueError, match="one event loop"):
        await asyncio.to_thread(asyncio.run, session.close())
    assert (await wait).is_succeeded


def test_close_after_its_loop_ended_lets_go() -> None:
    """Also where a wait was left under way, and twice; a connector that was not closed before is the caller's."""

    async def leave_open() -> SchedulesSession:
        async with FakeSchedules() as server, aiohttp.ClientSession() as http:
            session = server.session(http=http)
            task = asyncio.create_task(session.wait_for_operation(*server.script_operation(started(10))))
            await session.get_operation(*server.script_operation(DONE))
            assert not task.done()
            return session

    session = asyncio.run(leave_open())
    asyncio.run(session.close())
    asyncio.run(session.close())
    with pytest.raises(SessionClosedError):
        asyncio.run(session.get_operation("s", "o"))
    assert "closed" in repr(session)
    assert session.stats.requests > 0


@pytest.mark.parametrize("limit", [1, 10])
async def test_closed_connector_is_a_transport_error(server: FakeSchedules, clock: FakeClock, limit: int) -> None:
    """For requests under way and for those that wait for a connection; nobody was cancelled."""
    http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=limit))
    retry = RetryPolicy(attempts=1, max_outage=0)
    async with SchedulesSession(server.token, base_url=server.url, clock=clock, http=http, retry=retry) as session:
        refs = [server.script_operation(stall()) for _ in range(4)]
        async with asyncio.timeout(30):
            calls = [asyncio.create_task(session.get_operation(*ref)) for ref in refs]
            waits = [asyncio.create_task(session.wait_for_operation(*ref)) for ref in refs]
            while not server.requests:
                await turns(1)
            await http.close()
            results = await asyncio.gather(*calls, *waits, return_exceptions=True)
    assert {type(result) for result in results} == {TransportError}


@pytest.mark.parametrize("signal", ["on_request_start", "on_connection_create_start", "on_request_end"])
async def test_cancelled_error_of_trace_config_is_transport_error(
    server: FakeSchedules, clock: FakeClock, signal: str
) -> None:
    """As a trace config raises whose own work was cancelled: the caller of the session was not."""

    async def trace(*_: object) -> None:
        raise asyncio.CancelledError

    config = aiohttp.TraceConfig()
    getattr(config, signal).append(trace)
    retry = RetryPolicy(attempts=2, base=0, max_outage=0)
    async with (
        aiohttp.ClientSession(trace_configs=[config]) as http,
        SchedulesSession(server.token, base_url=server.url, clock=clock, http=http, retry=retry) as session,
    ):
        ref = server.script_operation(DONE)
        results = await asyncio.gather(
            session.get_operation(*ref), session.wait_for_operation(*ref), return_exceptions=True
        )
    assert [type(result) for result in results] == [TransportError, TransportError]
    assert asyncio.current_task() is not None


async def test_generator_exit_of_trace_config_is_runtime_error(server: FakeSchedules, clock: FakeClock) -> None:
    """It must not look as if the caller's own coroutine were closed."""

    async def trace(*_: object) -> None:
        raise GeneratorExit

    config = aiohttp.TraceConfig()
    config.on_request_start.append(trace)
    async with (
        aiohttp.ClientSession(trace_configs=[config]) as http,
        SchedulesSession(server.token, base_url=server.url, clock=clock, http=http) as session,
    ):
        with pytest.raises(RuntimeError, match="GeneratorExit"):
            await session.get_operation(*server.script_operation(DONE))


async def test_close_by_the_token_function_opens_no_client(server: FakeSchedules) -> None:
    """The request that asked for the token is over: it must not open a client that nobody closes."""

    async def get_token() -> str:
        await session.close()
        return server.token

    session = SchedulesSession(get_token, base_url=server.url)
    with pytest.raises(SessionClosedError):
        await session.get_operation(*server.script_operation(DONE))
    await turns(10)
    gc.collect()
    assert vars(session)["_transport"]._http is None
    assert server.requests == []


async def test_exception_of_a_trace_config_reaches_each_caller(server: FakeSchedules) -> None:
    async with traced_session(server, "on_request_start", LookupError) as session:
        ref = server.script_operation(DONE)
        results = await asyncio.gather(
            session.get_operation(*ref), session.wait_for_operation(*ref), return_exceptions=True
        )
    assert [repr(result) for result in results] == ["LookupError('collector is down')"] * 2
    assert results[0] is not results[1]


class Abort(BaseException):
    """An exception of a caller's that is no Exception."""


class BrokenClock(FakeClock):
    """Works until one of its methods is broken."""

    broken = ""
    error: type[BaseException] = OSError

    def monotonic(self) -> float:
        if self.broken == "monotonic":
            raise self.error("clock is broken")
        return super().monotonic()

    async def sleep(self, seconds: float) -> None:
        if self.broken == "sleep":
            raise self.error("clock is broken")
        await super().sleep(seconds)


@pytest.mark.parametrize("method", ["monotonic", "sleep"])
@pytest.mark.parametrize(("error", "raised"), [(OSError, OSError), (Abort, Abort), (GeneratorExit, RuntimeError)])
async def test_broken_clock_raises_in_every_call(
    server: FakeSchedules, method: str, error: type[BaseException], raised: type[BaseException]
) -> None:
    """Rather than hang them: the engine cannot wait for anything any more. The session can still be closed."""
    clock = BrokenClock()
    clock.error = error
    async with SchedulesSession(server.token, base_url=server.url, clock=clock) as session:
        calls = [asyncio.create_task(session.wait_for_operation(*server.start_operation(100))) for _ in range(3)]
        await asyncio.sleep(0.01)
        clock.broken = method
        calls.append(asyncio.create_task(session.get_operation(*server.script_operation(throttled(60), DONE))))
        async with asyncio.timeout(30):
            await asyncio.wait(calls)
    results = [call.exception() for call in calls]
    assert [type(result) for result in results] == [raised] * 4
    assert [str((result and result.__cause__) or result) for result in results] == ["clock is broken"] * 4
    assert len({id(result) for result in results}) == 4
    while server.open_connections:
        await turns(1)


async def test_one_hanging_request_without_bound_holds_no_others(
    make_session: MakeSession, server: FakeSchedules
) -> None:
    """Though a new session has few requests in flight, and that one never ends."""
    session = make_session(request_timeout=float("inf"))
    hanging = asyncio.create_task(session.get_operation(*server.script_operation(stall())))
    while not server.requests:
        await turns(1)
    async with asyncio.timeout(30):
        operations = await asyncio.gather(*(session.get_operation(*server.script_operation(DONE)) for _ in range(50)))
    assert len(operations) == 50
    hanging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hanging


class Foreign(dict[OperationRef, Operation]):
    """Returns the snapshot of another operation, or of none, for every ref."""

    answer: Any

    def get(self, _: OperationRef, __: Any = None) -> Any:
        return self.answer


@pytest.mark.parametrize(
    "answer",
    [
        Operation.from_json('{"operation": {"id": "o", "status": "Succeeded", "etag": "\\"E1\\""}}', "another"),
        Operation.from_json('{"operation": {"id": "another", "status": "Succeeded", "etag": "\\"E1\\""}}', "s"),
        "no snapshot",
        5,
    ],
)
async def test_snapshot_of_another_operation_is_ignored(
    make_session: MakeSession, server: FakeSchedules, answer: object
) -> None:
    snapshots = Foreign()
    snapshots.answer = answer
    session = make_session(snapshots=snapshots)
    ref = server.script_operation(started(10, '"E1"'), DONE, schedule_id="s", operation_id="o")
    assert (await session.get_operation(*ref)).percent_complete == 10
    assert (await session.wait_for_operation(*ref)).ref == ref
    assert [request.if_none_match for request in server.requests] == [None, None]


async def test_token_is_taken_when_the_request_leaves(
    make_session: MakeSession, server: FakeSchedules, clock: FakeClock
) -> None:
    """Not when it queues: behind the gate a token would expire."""
    server.token_life = 600
    session = make_session(auth=server.credentials())
    refs = [server.script_operation(throttled(1000), DONE), *[server.script_operation(DONE) for _ in range(20)]]
    waits = [asyncio.create_task(session.wait_for_operation(*ref)) for ref in refs]
    await asyncio.gather(*waits)
    assert clock.monotonic() >= 1000
    assert [request.status for request in server.requests].count(401) == 0
    assert len(server.token_requests) == 2


@pytest.mark.parametrize("kind", [ServerError, UnicodeDecodeError])
async def test_each_caller_gets_its_own_exception_and_notes(make_session: MakeSession, kind: type[Exception]) -> None:
    """Of the library's and of the caller's code; awaiting again adds no frames."""
    error = ServerError("x") if kind is ServerError else UnicodeDecodeError("utf-8", b"x", 0, 1, "reason")
    error.add_note("from the store")

    class Broken(dict[OperationRef, Operation]):
        def get(self, _: OperationRef, __: Any = None) -> Any:
            raise error

    session = make_session(snapshots=Broken(), retry=RetryPolicy(attempts=1, max_outage=0))
    ref = OperationRef("s", "o")
    wait = session.wait_for_operation(*ref)
    results = [*await asyncio.gather(session.get_operation(*ref), wait, return_exceptions=True)]
    sizes = []
    for _ in range(4):
        results += await asyncio.gather(wait, return_exceptions=True)
    for number, result in enumerate(results):
        assert isinstance(result, type(error))
        sizes.append(len(traceback.extract_tb(result.__traceback__)))
        result.add_note(f"of caller {number}")
    assert len({id(result) for result in results}) == 6
    assert [vars(result)["__notes__"][1:] for result in results] == [[f"of caller {number}"] for number in range(6)]
    assert {str(result) for result in results} == {str(error)}
    assert len(set(sizes[2:])) == 1


async def test_close_dropped_in_between_is_finished_by_another(
    session: SchedulesSession, server: FakeSchedules
) -> None:
    call = asyncio.create_task(session.get_operation(server.script_operation(stall())))
    await turns(20)
    closing = session.close()
    closing.send(None)
    closing.close()
    await session.close()
    with pytest.raises(SessionClosedError):
        await call
    while server.open_connections:
        await turns(1)


async def test_cancelled_close_closes_the_rest(session: SchedulesSession, server: FakeSchedules) -> None:
    call = asyncio.create_task(session.get_operation(server.script_operation(stall())))
    await turns(20)
    closing = asyncio.create_task(session.close())
    await turns(1)
    closing.cancel()
    await asyncio.wait({closing})
    with pytest.raises(SessionClosedError):
        await call
    assert closing.cancelled()
    while server.open_connections:
        await turns(1)
