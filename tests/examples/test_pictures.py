"""The pictures of the pages are those that `tests/tools/pictures.py` creates."""

import asyncio
import re
from pathlib import Path

import pytest
from chromium import load

TOP = Path(__file__).parents[2]
PICTURES = TOP / "examples" / "pictures"
SMALL = 100_000  # bytes


def test_index_of_examples_shows_every_picture() -> None:
    index = (TOP / "examples" / "README.md").read_text(encoding="utf-8")
    pictures = sorted(PICTURES.iterdir())
    assert [path.name for path in pictures if f"pictures/{path.name}" not in index] == []
    assert [path.name for path in pictures if path.stat().st_size > SMALL] == []
    assert len(pictures) == len(re.findall(r"pictures/\w+\.(?:svg|png)", index))


@pytest.mark.browser
def test_pictures_can_be_recreated(tmp_path: Path) -> None:
    """Under the same names, without external resources; fonts and versions affect their details."""
    asyncio.run(load("pictures").make(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in PICTURES.iterdir()}
    assert [path.name for path in tmp_path.glob("*.svg") if "url(http" in path.read_text(encoding="utf-8")] == []
