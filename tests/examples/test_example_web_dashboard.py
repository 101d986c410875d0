"""The dashboard: its event stream over plain HTTP, and its page in Chromium (marker `browser`)."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from chromium import launched, load
from web_dashboard import Dashboard, serving

from schedules_async import OperationRef, PollingPolicy, SchedulesSession
from schedules_async.testing import FakeClock, FakeSchedules, fault, operation_answer


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(auto=False)


@pytest.fixture
async def session(server: FakeSchedules) -> AsyncIterator[SchedulesSession]:
    async with server.session(polling=PollingPolicy.fixed(1.0), rate_limits=()) as session:
        yield session


@asynccontextmanager
async def stream(url: str) -> AsyncIterator[Callable[[], Any]]:
    """Connect as a browser does; yield a function that reads the next states."""
    async with aiohttp.ClientSession() as http, http.get(url + "events") as response:

        async def read() -> list[dict[str, Any]]:
            while not (line := await response.content.readline()).startswith(b"data: "):
                assert line, "the stream ended"
            states: list[dict[str, Any]] = json.loads(line.removeprefix(b"data: "))
            return states

        yield read


async def test_browsers_share_requests_and_late_ones_start_current(
    server: FakeSchedules, session: SchedulesSession, clock: FakeClock
) -> None:
    ref = server.start_operation(10, sub_status="Copying")
    async with serving(Dashboard(session, [ref]), 0) as url:
        async with stream(url) as read:
            assert [state["text"] for state in await read()] == ["no answer yet"]
            await clock.advance(2.0)
            async with stream(url) as late:
                assert [(state["percent"], state["text"]) for state in await late()] == [(20.0, "Copying")]
                await clock.advance(8.0)
                while (await late())[0]["outcome"] != "succeeded":
                    pass
            assert len(server.requests) == 11
        async with stream(url) as after:
            assert [state["outcome"] for state in await after()] == ["succeeded"]
        await clock.advance(60.0)
    assert len(server.requests) == 11


async def test_polling_stops_without_browsers(
    server: FakeSchedules, session: SchedulesSession, clock: FakeClock
) -> None:
    ref = server.start_operation(1000)
    async with serving(Dashboard(session, [ref]), 0) as url:
        async with stream(url) as read:
            await read()
            await clock.advance(3.0)
        await clock.advance(1.0)
        count = len(server.requests)
        await clock.advance(60.0)
        assert len(server.requests) == count


async def test_lost_operation_is_polled_for_next_browser(server: FakeSchedules, session: SchedulesSession) -> None:
    ref = server.script_operation(
        fault(501), operation_answer("Failed", percent_complete=130.0, failure_description="The disk is full.")
    )
    async with serving(Dashboard(session, [ref]), 0) as url:
        async with stream(url) as read:
            await read()
            assert [state["outcome"] for state in await read()] == ["lost"]
        async with stream(url) as read:
            await read()
            (state,) = await read()
    assert (state["outcome"], state["percent"], state["text"]) == ("failed", 100.0, "Failed: The disk is full.")


@pytest.fixture
async def browser() -> AsyncIterator[Any]:
    async with launched() as browser:
        yield browser


async def visit(browser: Any, url: str, **options: Any) -> Any:
    """Open the page."""
    page = await browser.new_page(**options)
    await page.goto(url)
    return page


async def bars(page: Any) -> list[int]:
    """Return the value of each bar, in order."""
    values = await page.get_by_role("progressbar").evaluate_all("bars => bars.map(bar => Number(bar.ariaValueNow))")
    return list(values)


async def until(page: Any, condition: str, *arguments: object) -> None:
    await page.wait_for_function(condition, arg=list(arguments), timeout=20_000)


CONTAINS = "([text]) => document.body.innerText.includes(text)"
LIVE = "() => document.querySelector('#connection').textContent === 'live'"
BAR_AT = "([value]) => document.querySelector('[role=progressbar]')?.ariaValueNow === String(value)"


@pytest.mark.browser
async def test_page_draws_bars_and_failure_reason(
    server: FakeSchedules, session: SchedulesSession, clock: FakeClock, browser: Any
) -> None:
    refs = [
        server.start_operation(40, schedule_id="bridge", operation_id="clone", sub_status="Copying tasks"),
        server.start_operation(20, progress=lambda x: 63 * x, fails_with="Rule 7 <needs> a calendar."),
    ]
    async with serving(Dashboard(session, refs), 0) as url:
        page = await visit(browser, url)
        await until(page, CONTAINS, "2 running")
        await clock.advance(10.0)
        await until(page, BAR_AT, 25)
        assert await bars(page) == [25, 31]
        await until(page, CONTAINS, "Copying tasks")
        await until(page, CONTAINS, "29\N{EN DASH}31 s left")
        drawn = "() => document.querySelector('.bar div').getBoundingClientRect().right"
        before = await page.evaluate(drawn)
        await clock.advance(30.0)
        await until(page, CONTAINS, "1 succeeded, 1 failed")
        await until(page, CONTAINS, "✗ Failed: Rule 7 <needs> a calendar.")
        assert await bars(page) == [100, 63]
        assert await page.evaluate(drawn) > before
        assert await page.get_by_role("progressbar", name="bridge/clone").get_attribute("aria-valuetext") == (
            "100 %, Succeeded"
        )


class Fallible(Dashboard):
    """A dashboard whose connections a test can reset, reject and stall."""

    def __init__(self, session: SchedulesSession, refs: Sequence[OperationRef]) -> None:
        super().__init__(session, refs)
        self.requests: list[web.Request] = []
        self.is_out_of_order = self.is_silent = False

    async def events(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        if self.is_out_of_order:
            self.is_out_of_order = False
            raise web.HTTPBadGateway
        if self.is_silent:
            self.is_silent = False
            stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await stream.prepare(request)
            await asyncio.Event().wait()
        return await super().events(request)

    def cut(self) -> None:
        """Reset the newest connection."""
        assert self.requests[-1].transport is not None
        self.requests[-1].transport.abort()


@pytest.mark.browser
async def test_page_dropped_connection_recovers(
    server: FakeSchedules, session: SchedulesSession, clock: FakeClock, browser: Any
) -> None:
    """First by the browser itself; then after an HTTP error, after which the browser does not reconnect."""
    dashboard = Fallible(session, [server.start_operation(100)])
    async with serving(dashboard, 0) as url:
        page = await visit(browser, url)
        await until(page, LIVE)
        await clock.advance(10.0)
        await until(page, BAR_AT, 10)
        dashboard.cut()
        await until(page, CONTAINS, "reconnecting")
        await until(page, LIVE)
        await clock.advance(10.0)
        await until(page, BAR_AT, 20)
        dashboard.is_out_of_order = True
        dashboard.cut()
        await until(page, CONTAINS, "reconnecting")
        await until(page, LIVE)
        await clock.advance(10.0)
        await until(page, BAR_AT, 30)
    assert len(dashboard.requests) == 4


@pytest.mark.browser
async def test_page_reconnects_to_restarted_server(
    server: FakeSchedules, session: SchedulesSession, clock: FakeClock, browser: Any
) -> None:
    dashboard = Dashboard(session, [server.start_operation(100)])
    async with serving(dashboard, 0) as url:
        page = await visit(browser, url)
        await until(page, LIVE)
        await clock.advance(10.0)
        await until(page, BAR_AT, 10)
    await until(page, CONTAINS, "reconnecting")
    await clock.advance(50.0)
    async with serving(dashboard, int(url.split(":")[-1].strip("/"))):
        await until(page, LIVE)
        await until(page, BAR_AT, 60)


@pytest.mark.browser
async def test_page_silent_connection_is_replaced(
    server: FakeSchedules, session: SchedulesSession, clock: FakeClock, browser: Any
) -> None:
    dashboard = Fallible(session, [server.start_operation(100)])
    dashboard.is_silent = True
    async with serving(dashboard, 0) as url:
        page = await browser.new_page()
        await page.clock.install()
        await page.goto(url)
        await until(page, LIVE)
        await page.clock.fast_forward(26_000)
        await until(page, CONTAINS, "1 running")
        await clock.advance(10.0)
        await until(page, BAR_AT, 10)


COUNT = """() => {
  window.counts = {frames: 0, draws: 0, messages: 0, rows: 0};
  const countFrame = () => { counts.frames++; requestAnimationFrame(countFrame); };
  requestAnimationFrame(countFrame);
  const [originalDraw, originalReceive] = [draw, receive];
  draw = () => { counts.draws++; originalDraw(); };
  receive = (states) => { counts.messages++; originalReceive(states); };
  new MutationObserver((changes) => { counts.rows += changes.length; })
    .observe(document.querySelector("#operations"), {childList: true});
}"""

BURST = """() => {
  const before = counts.draws;
  for (let percent = 0; percent <= 50; percent++)
    for (const row of rows.values()) receive([{...row.state, percent}]);
  return new Promise((resolve) => requestAnimationFrame(() => resolve(counts.draws - before)));
}"""


@pytest.mark.browser
async def test_page_draws_a_hundred_operations_once_per_frame(
    server: FakeSchedules, session: SchedulesSession, clock: FakeClock, browser: Any
) -> None:
    """However many messages arrive; no row is created twice."""
    refs = [server.start_operation(10 + number / 20) for number in range(100)]
    async with serving(Dashboard(session, refs), 0) as url:
        page = await visit(browser, url)
        await until(page, CONTAINS, "100 running")
        await page.evaluate(COUNT)
        await clock.advance(16.0)
        await until(page, CONTAINS, "100 succeeded")
        counts = await page.evaluate("counts")
        assert counts["rows"] == 0
        assert counts["messages"] >= 100
        assert 0 < counts["draws"] <= counts["frames"]
        assert await page.evaluate(BURST) == 1
        assert await bars(page) == [50] * 100


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
async def test_page_is_accessible(
    server: FakeSchedules, session: SchedulesSession, browser: Any, scheme: str, width: int
) -> None:
    """By the rules of axe, contrast included; without horizontal scrolling, and without motion where it is reduced."""
    refs = [
        server.start_operation(),
        server.script_operation(operation_answer("Started", percent_complete=50, sub_status="Copying" * 20)),
        server.script_operation(operation_answer("Succeeded")),
        server.script_operation(
            operation_answer("Failed", percent_complete=63, failure_description="The disk is full.")
        ),
        OperationRef("no", "such"),
    ]
    options = {"color_scheme": scheme, "viewport": {"width": width, "height": 800}, "reduced_motion": "reduce"}
    async with serving(Dashboard(session, refs), 0) as url:
        page = await visit(browser, url, **options)
        await until(page, CONTAINS, "1 succeeded, 1 failed, 1 lost, 2 running")
        assert (await load("axe_playwright_python.async_playwright").Axe().run(page)).response["violations"] == []
        assert await page.evaluate("() => document.scrollingElement.scrollWidth") <= width
        assert (
            await page.evaluate("() => getComputedStyle(document.querySelector('.bar div')).transitionDuration") == "0s"
        )
