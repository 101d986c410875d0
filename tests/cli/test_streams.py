import io
import logging
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from schedules_async.cli.streams import discard_output, logging_to_stderr, usable_streams

LOGGER = logging.getLogger("schedules_async")


def test_closed_stream_discards_and_is_closed_again() -> None:
    with redirect_stdout(None), redirect_stderr(None):
        with usable_streams():
            assert (sys.stdout.write("text"), sys.stderr.write("text")) == (4, 4)
            nowhere = sys.stdout
        assert (sys.stdout, sys.stderr, nowhere.closed) == (None, None, True)


def test_characters_that_the_encoding_lacks_are_escaped() -> None:
    output = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    with redirect_stdout(output), redirect_stderr(io.StringIO()), usable_streams():
        sys.stdout.write("50 \u2713")
        sys.stdout.flush()
    assert output.buffer.getvalue() == b"50 \\u2713"


def test_discarded_output_needs_no_reader(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with (
        io.TextIOWrapper(io.FileIO(writing, "w")) as output,
        (tmp_path / "errors").open("w") as errors,
        redirect_stdout(output),
        redirect_stderr(errors),
    ):
        output.write("text")
        discard_output()
        output.flush()


@pytest.mark.parametrize("is_verbose", [False, True])
def test_log_goes_to_what_stderr_is_now(*, is_verbose: bool) -> None:
    """Bars replace the stream, to print above themselves."""
    level, before, later = LOGGER.level, io.StringIO(), io.StringIO()
    with redirect_stderr(before), logging_to_stderr(is_verbose=is_verbose), redirect_stderr(later):
        LOGGER.debug("looked at %s", "s/o")
        LOGGER.warning("throttled")
    LOGGER.error("after")
    lines = later.getvalue().splitlines()
    assert [line.split(" ", 2)[2] for line in lines] == (["DEBUG looked at s/o", "WARNING throttled"] * is_verbose)
    assert (before.getvalue(), LOGGER.level) == ("", level)


class Full(io.StringIO):
    """A stream to a file on a full disk."""

    def write(self, _: str) -> int:
        raise OSError(28, "No space left on device")


def test_log_that_cannot_be_written_costs_nothing() -> None:
    with redirect_stderr(Full()), logging_to_stderr(is_verbose=True):
        LOGGER.warning("throttled")
