"""Draw the pictures of the pages: the web page in Chromium, the bars of a terminal, the Textual app.

Run: PYTHONPATH=examples:tests/support python tests/tools/pictures.py. Needs Chromium, playwright, rich and Textual.
Each picture shows one moment of a fake clock, so that it changes only when what it shows has changed.
"""

import asyncio
import io
import re
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path

from chromium import launched
from rich.console import Console
from textual_app import SHOW, OperationsApp
from web_dashboard import SHOW as MORE
from web_dashboard import Dashboard, serving

from schedules_async import PollingPolicy, SchedulesSession
from schedules_async.cli.demo import PROGRAMME, start
from schedules_async.progress.board import Board
from schedules_async.progress.rich_bars import draw_lines
from schedules_async.progress.text import format_stats
from schedules_async.testing import FakeClock, FakeSchedules

FOLDER = Path(__file__).parents[2] / "examples" / "pictures"
MOMENT = 38.0  # seconds


@asynccontextmanager
async def stage() -> AsyncIterator[tuple[FakeClock, FakeSchedules, SchedulesSession]]:
    clock = FakeClock(auto=False)
    async with (
        FakeSchedules(clock=clock) as server,
        server.session(polling=PollingPolicy.fixed(2.0), rate_limits=()) as session,
    ):
        yield clock, server, session


async def photograph_page(folder: Path) -> None:
    async with stage() as (clock, server, session), launched() as browser:
        refs = [server.start_operation(schedule_id="bridge", **options) for options in MORE]
        async with serving(Dashboard(session, refs), 0) as url:
            size = {"width": 760, "height": 300}
            pages = [await browser.new_page(color_scheme=scheme, viewport=size) for scheme in ("light", "dark")]
            for page in pages:
                await page.goto(url)
            await clock.advance(MOMENT)
            for page, scheme in zip(pages, ("light", "dark"), strict=True):
                await page.emulate_media(reduced_motion="reduce")  # else a bar may still be on its way
                await page.get_by_text("needs a calendar").wait_for()
                await page.screenshot(path=folder / f"web_dashboard_{scheme}.png", full_page=True)


async def draw_bars(folder: Path) -> None:
    async with stage() as (clock, server, session):
        names = {start(server, part, 50.0): part.name for part in PROGRAMME}
        waiter = session.wait_for_operations(names, check=False)
        board = Board(names)
        board.add(waiter.members)
        async with following(waiter):
            await clock.advance(MOMENT)
            board.update()
            console = Console(file=io.StringIO(), record=True, width=90, force_terminal=True, color_system="truecolor")
            console.print(*draw_lines(board, lambda: format_stats(session.stats), console), sep="\n")
    picture = console.export_svg(title="schedules-async demo", unique_id="bars")
    save(folder / "terminal_bars.svg", picture)


@asynccontextmanager
async def following(waiter: Awaitable[object]) -> AsyncIterator[None]:
    task = asyncio.ensure_future(waiter)
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def draw_app(folder: Path) -> None:
    async with stage() as (clock, server, session):
        app = OperationsApp(session, [server.start_operation(schedule_id="bridge", **options) for options in SHOW])
        async with app.run_test(size=(96, 13)) as pilot:
            await clock.advance(MOMENT)
            await pilot.press("tab")
            await pilot.pause()
            picture = app.export_screenshot()
    save(folder / "textual_app.svg", re.sub(r"terminal-\d+-", "app-", picture))


def save(path: Path, picture: str) -> None:
    """Write a picture without references to fonts on the web."""
    path.write_text(re.sub(r"@font-face\s*\{[^}]*\}\s*", "", picture), encoding="utf-8", newline="\n")


async def make(folder: Path) -> None:
    await photograph_page(folder)
    await draw_bars(folder)
    await draw_app(folder)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    asyncio.run(make(FOLDER))
