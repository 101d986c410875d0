"""`schedules-async wait` for two hundred operations in a real terminal, which changes its size, until Ctrl-C."""

import asyncio
import codecs
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import frozen
from environment import INHERITED
from screen import Screen

from schedules_async.testing import FakeSchedules

COUNT = 200
REFS = "".join(f"play/{number}\n" for number in range(COUNT))
FRAMES = 5  # of each size
TOP = Path(__file__).parent.parent
SIZES = ((80, 24), (50, 12))  # columns, lines
END_OF_FRAME = "saved by 304"


@frozen
class Run:
    """The exit code of the command, and what it sent to the terminal at each size."""

    exit_code: int
    sent: tuple[str, ...]


async def run_command() -> Run:
    async with FakeSchedules() as server:
        for number in range(COUNT):
            server.start_operation(3600, schedule_id="play", operation_id=str(number), sub_status="Reading")
        return await asyncio.to_thread(run_in_terminal, {"SCHEDULES_BASE_URL": server.url})


def run_in_terminal(variables: dict[str, str]) -> Run:
    terminal, child_end = pty.openpty()
    resize(terminal, SIZES[0])
    unwanted = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES")
    inherited = {name: value for name, value in INHERITED.items() if name not in unwanted}
    with subprocess.Popen(
        (sys.executable, "-m", "schedules_async", "wait", "-"),
        env={**inherited, "PYTHONPATH": str(TOP), "TERM": "xterm", "SCHEDULES_TOKEN": "test-token", **variables},
        stdin=subprocess.PIPE,
        stdout=child_end,
        stderr=child_end,
        text=True,
    ) as process:
        os.close(child_end)
        assert process.stdin is not None
        process.stdin.write(REFS)
        process.stdin.close()
        sent = tuple(read_frames(terminal, process))
    os.close(terminal)
    return Run(process.returncode, sent)


def resize(terminal: int, size: tuple[int, int]) -> None:
    columns, lines = size
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


def read_frames(terminal: int, process: "subprocess.Popen[str]") -> Iterator[str]:
    """Yield what is sent until a number of frames are complete, for each size; then interrupt and read to the end."""
    decoder, left_out = codecs.getincrementaldecoder("utf-8")(), "nothing"
    for size in SIZES:
        resize(terminal, size)
        sent = of_this_size = ""  # frames of the size before may still be on their way
        while of_this_size.count(END_OF_FRAME) < FRAMES and (piece := read_piece(terminal)):
            sent += decoder.decode(piece)
            of_this_size = sent.rpartition(left_out)[2]
        left_out = re.findall(r"and \d+ more", sent)[-1]
        yield sent
    process.send_signal(signal.SIGINT)
    yield decoder.decode(b"".join(iter(lambda: read_piece(terminal), b"")))


def read_piece(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # how Linux reports the end of a terminal
        return b""


def run_now() -> Run:
    return asyncio.run(run_command())


@pytest.mark.parametrize("early", [run_now], indirect=True)
def test_wait_many_fits_a_resized_terminal(early: Run) -> None:
    """Each frame replaces the lines of the one before, so that a screen of any length contains one frame."""
    screen = Screen()
    last, told, _ = early.sent[-1].partition("schedules-async: Interrupted.")
    for sent, (columns, lines) in zip((*early.sent[:-1], last), (*SIZES, SIZES[-1]), strict=True):
        screen.write(sent)
        assert len(screen.shown) < lines
        assert max(map(len, screen.shown)) <= columns
    assert screen.shown[-3].strip() == f"and {COUNT + 3 - len(screen.shown)} more"
    assert f"0 of {COUNT} ended" in screen.shown[-2]
    assert END_OF_FRAME in screen.shown[-1]
    assert told
    assert screen.is_cursor_seen
    assert (early.exit_code, "Traceback" in "".join(early.sent)) == (130, False)
