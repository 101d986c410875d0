"""Outages: the service goes away during many waits, and connections are refused until it is back."""

import asyncio
import logging
import re
from typing import Any

import pytest
from sessions import MakeSession
from yarl import URL

from schedules_async import AuthenticationError, PollingPolicy, RateLimit, RetryPolicy
from schedules_async.events import Event, OutageEnded, Retried
from schedules_async.testing import FakeClock, FakeSchedules, fault, operation_answer

DONE = operation_answer("Succeeded", percent_complete=100)


def of_kind(events: list[Event], kind: type[Any]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


async def leave_for(server: FakeSchedules, clock: FakeClock, seconds: float) -> None:
    """Close the server, and start it again on the same port."""
    server._port = URL(server.url).port or 0
    await server.close()
    await clock.sleep(seconds)
    await server.start()


async def test_outage_loses_none_of_300_waits(
    make_session: MakeSession, server: FakeSchedules, clock: FakeClock
) -> None:
    """With the default policies, under a quota of 300 requests a minute."""
    events: list[Event] = []
    server.quota = 300
    session = make_session(rate_limits=[RateLimit(300, 60)], polling=PollingPolicy(), hooks=[events.append])
    refs = [server.start_operation(40 + number / 15) for number in range(300)]
    wait = asyncio.create_task(session.wait_for_operations(refs))
    await clock.sleep(30)
    before = session.stats.requests
    await leave_for(server, clock, 15)
    requests = session.stats.requests - before
    assert {operation.status for operation in await wait} == {"Succeeded"}
    assert 10 <= requests <= 60
    assert [retry.attempt for retry in of_kind(events, Retried) if retry.begins_outage] == [1]
    (end,) = of_kind(events, OutageEnded)
    assert 14 <= end.seconds <= 20


async def test_outage_is_logged_at_its_beginning_and_end(
    make_session: MakeSession, server: FakeSchedules, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """At WARNING and INFO; the retries between at DEBUG."""
    session = make_session()
    refs = [server.start_operation(40) for _ in range(20)]
    with caplog.at_level(logging.DEBUG, "schedules_async"):
        wait = asyncio.create_task(session.wait_for_operations(refs))
        await clock.sleep(5)
        for _ in range(2):
            await leave_for(server, clock, 12)
            await clock.sleep(5)
        await wait
    retries = [record.levelname for record in caplog.records if record.message.startswith("retry ")]
    others = [record for record in caplog.records if record.levelno >= logging.INFO]
    assert retries.count("WARNING") == 2
    assert len(retries) > 20
    assert set(retries) == {"WARNING", "DEBUG"}
    assert [re.split(" of | after ", record.message)[0] for record in others] == [
        "wait for 20 operations began",
        *("retry 1", "the service answers again") * 2,
        "wait for 20 operations ended: 20 succeeded",
    ]


async def test_fault_of_one_operation_begins_one_outage(make_session: MakeSession, server: FakeSchedules) -> None:
    """Its later retries begin none, though others are answered in between."""
    events: list[Event] = []
    session = make_session(hooks=[events.append])
    refs = [server.script_operation(*[fault(500)] * 6, DONE), server.start_operation(30)]
    await session.wait_for_operations(refs)
    assert [(retry.attempt, retry.begins_outage) for retry in of_kind(events, Retried)] == [
        (1, True),
        *((attempt, False) for attempt in range(2, 7)),
    ]
    assert len(of_kind(events, OutageEnded)) == 1


async def test_identity_server_away_loses_no_running_wait(
    make_session: MakeSession, server: FakeSchedules, clock: FakeClock
) -> None:
    """The token ends meanwhile; a wait that begins then, and a single fetch, fail at once."""
    server.token_life = 100
    session = make_session(auth=server.credentials(), polling=PollingPolicy.fixed(5))
    refs = [server.start_operation(400) for _ in range(3)]
    waits = [asyncio.create_task(session.wait_for_operation(ref)) for ref in refs]
    await clock.sleep(50)
    server.interrupt_tokens(*[fault(503)] * 1000)
    await clock.sleep(150)
    with pytest.raises(AuthenticationError, match="503"):
        await session.get_operation(refs[0])
    with pytest.raises(AuthenticationError, match="503"):
        await session.wait_for_operation(server.start_operation(400))
    server._token_interruptions.clear()  # it is back
    assert {(await wait).status for wait in waits} == {"Succeeded"}


async def test_identity_server_away_too_long_ends_waits(
    make_session: MakeSession, server: FakeSchedules, clock: FakeClock
) -> None:
    """After the `max_outage` of the retry policy."""
    server.token_life = 100
    session = make_session(auth=server.credentials(), retry=RetryPolicy(max_outage=60))
    wait = asyncio.create_task(session.wait_for_operation(server.start_operation(4000)))
    await clock.sleep(50)
    server.interrupt_tokens(*[fault(503)] * 1000)
    with pytest.raises(AuthenticationError, match="503"):
        await wait
    assert 100 <= clock.monotonic() <= 300
