"""Trace waits with OpenTelemetry: one span per wait, with an event for each poll of its operations.

The span of a wait is a child of the span in which the wait is used. This example exports spans to the console; use an
exporter of your own instead.
"""

import argparse
import asyncio

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from opentelemetry.trace import Span, Status, StatusCode, Tracer
from opentelemetry.util.types import AttributeValue

from schedules_async import Operation, OperationRef, SchedulesSession
from schedules_async.events import (
    Changed,
    Event,
    OutageEnded,
    Polled,
    Retried,
    Throttled,
    TokenRenewed,
    WaitBegun,
    WaitEnded,
)
from schedules_async.testing import FakeSchedules


class Spans:
    """A hook that records spans; several sessions can share it."""

    def __init__(self, tracer: Tracer) -> None:
        self.tracer = tracer
        self.spans: dict[WaitBegun, Span] = {}

    def __call__(self, event: Event) -> None:
        match event:
            case WaitBegun():
                self.spans[event] = self.tracer.start_span(name_of(event), attributes={"operations": len(event.refs)})
            case WaitEnded():
                end(self.spans.pop(event.begun), event)
            case Polled(ref=ref):
                self.add("poll", ref, outcome_of(event))
            case Retried(ref=ref):
                self.add("retry", ref, {"error": str(event.error), "delay": event.delay, "seconds": event.seconds})
            case OutageEnded(seconds=seconds):
                self.add("outage ended", None, {"seconds": seconds})
            case Throttled(closed_for=seconds):
                self.add("throttled", None, {"seconds": seconds})
            case TokenRenewed():
                self.add("token renewed", None, {"was_rejected": event.was_rejected})
            case Changed():
                pass  # its poll is recorded

    def add(self, name: str, ref: OperationRef | None, attributes: dict[str, AttributeValue]) -> None:
        """Add an event to the spans of all waits for an operation, or to all spans if `ref` is None."""
        for begun, span in self.spans.items():
            if ref is None or ref in begun.refs:
                span.add_event(name, attributes if ref is None else {"operation": str(ref), **attributes})


def name_of(begun: WaitBegun) -> str:
    return "wait for operation" if len(begun.refs) == 1 else "wait for operations"


def outcome_of(poll: Polled) -> dict[str, AttributeValue]:
    """Return the outcome of a poll as attributes, without None, which OpenTelemetry does not allow."""
    attributes: dict[str, AttributeValue] = {"seconds": poll.seconds}
    if poll.interval is not None:
        attributes["interval"] = poll.interval
    if isinstance(poll.outcome, Operation):
        attributes |= {"status": poll.outcome.raw_status, "percent": poll.outcome.percent_complete}
        return attributes | {"not_modified": poll.is_not_modified}
    return attributes | {"error": str(poll.outcome)}


def end(span: Span, event: WaitEnded) -> None:
    counts = {"succeeded": event.succeeded, "failed": event.failed, "lost": event.lost, "left": event.left}
    span.set_attributes({"polls": event.polls, **counts})
    is_good = event.succeeded == len(event.begun.refs)
    span.set_status(Status(StatusCode.OK) if is_good else Status(StatusCode.ERROR, str(event)))
    span.end()


async def main(seconds: float) -> None:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
    tracer = provider.get_tracer("an application")
    async with FakeSchedules() as server:  # replaces the service; needs no token and no network
        ref = server.start_operation(duration=seconds)
        async with SchedulesSession(server.token, base_url=server.url, hooks=[Spans(tracer)]) as session:
            with tracer.start_as_current_span("nightly export"):
                await session.wait_for_operation(*ref)
    provider.shutdown()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Print the spans of one wait.")
    parser.add_argument("--seconds", type=float, default=3, help="duration of the operation")
    asyncio.run(main(parser.parse_args().seconds))
