"""The OpenTelemetry example: one span per wait, an event per poll."""

import asyncio
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
from chromium import load
from sessions import MakeSession

from schedules_async import OperationRef, SchedulesSession
from schedules_async.testing import FakeSchedules, fault, not_modified, operation_answer, throttled

example = load("opentelemetry_spans")
memory = load("opentelemetry.sdk.trace.export.in_memory_span_exporter")

TAGGED = operation_answer("Started", percent_complete=40, etag='"E1"')
DONE = operation_answer("Succeeded", percent_complete=100)


@pytest.fixture
def exporter() -> Any:
    return memory.InMemorySpanExporter()


@pytest.fixture
def provider(exporter: Any) -> Iterator[Any]:
    provider = example.TracerProvider()
    provider.add_span_processor(example.SimpleSpanProcessor(exporter))
    yield provider
    provider.shutdown()


@pytest.fixture
def tracer(provider: Any) -> Any:
    return provider.get_tracer("test")


@pytest.fixture
def instrumented(provider: Any) -> Iterator[None]:
    """Every aiohttp session that is opened gets a trace config of OpenTelemetry's."""
    instrumentor = load("opentelemetry.instrumentation.aiohttp_client").AioHttpClientInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    yield
    instrumentor.uninstrument()


@pytest.fixture
def session(make_session: MakeSession, tracer: Any) -> SchedulesSession:
    return make_session(hooks=[example.Spans(tracer)])


def events_of(span: Any) -> list[tuple[str, dict[str, Any]]]:
    return [(event.name, dict(event.attributes)) for event in span.events]


async def test_wait_is_a_span_with_poll_events(
    session: SchedulesSession, server: FakeSchedules, tracer: Any, exporter: Any
) -> None:
    ref = server.script_operation(TAGGED, not_modified(delay=0.5), DONE)
    with tracer.start_as_current_span("export"):
        await session.wait_for_operation(*ref)
    span, parent = exporter.get_finished_spans()
    assert (span.name, span.parent.span_id) == ("wait for operation", parent.context.span_id)
    assert span.status.is_ok
    assert (span.attributes["polls"], span.attributes["succeeded"]) == (3, 1)
    started = {"operation": str(ref), "status": "Started", "percent": 40.0, "interval": 1.0}
    assert events_of(span) == [
        ("poll", {**started, "not_modified": False, "seconds": 0.0}),
        ("poll", {**started, "not_modified": True, "seconds": 0.5}),
        ("poll", {"operation": str(ref), "status": "Succeeded", "percent": 100.0, "not_modified": False, "seconds": 0}),
    ]


async def test_span_of_lost_wait_has_the_errors(
    session: SchedulesSession, server: FakeSchedules, exporter: Any
) -> None:
    """Polls and retries are recorded in the spans of the waits for their operation, throttling in all spans."""
    refs = [OperationRef("no", "such"), server.script_operation(fault(500), throttled(5), operation_answer("Failed"))]
    lone = asyncio.create_task(session.wait_for_operation(*server.start_operation(duration=30)))
    await session.wait_for_operations(refs, check=False)
    await lone
    group, single = exporter.get_finished_spans()
    assert (group.name, group.attributes["failed"], group.attributes["lost"]) == ("wait for operations", 1, 1)
    assert not group.status.is_ok
    assert "1 failed, 1 lost" in group.status.description
    assert sorted(name for name, _ in events_of(group)) == ["outage ended", "poll", "poll", "retry", "throttled"]
    assert {name for name, _ in events_of(single)} == {"outage ended", "poll", "throttled"}
    (missing,) = (facts for _, facts in events_of(group) if facts.get("operation") == "no/such")
    assert missing["error"].startswith("404")


async def test_renewed_token_is_an_event(
    make_session: MakeSession, server: FakeSchedules, tracer: Any, exporter: Any
) -> None:
    credentials = server.credentials()
    session = make_session(auth=credentials, hooks=[example.Spans(tracer)])
    changes = aiter(session.wait_for_operation(*server.start_operation(duration=5)))
    await anext(changes)
    server.reject_token(await credentials.get_token())
    while not (await anext(changes)).is_done:
        pass
    del changes
    (span,) = exporter.get_finished_spans()
    assert ("token renewed", {"was_rejected": True}) in events_of(span)


@pytest.mark.usefixtures("instrumented")
@pytest.mark.parametrize("is_lent", [False, True])
async def test_request_of_instrumented_aiohttp_is_one_span(
    make_session: MakeSession, server: FakeSchedules, exporter: Any, is_lent: bool
) -> None:
    async with aiohttp.ClientSession() as http:
        session = make_session(http=http if is_lent else None)
        await session.wait_for_operation(*server.script_operation(TAGGED, not_modified(), DONE))
        assert len(exporter.get_finished_spans()) == session.stats.requests == 3
        await session.close()
