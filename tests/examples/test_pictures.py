"""The pictures of the README are what `tests/tools/pictures.py` makes."""

import asyncio
from pathlib import Path

import pytest
from chromium import load

TOP = Path(__file__).parents[2]
PICTURES = TOP / "examples" / "pictures"
SMALL = 100_000  # bytes


def test_the_readme_shows_every_picture() -> None:
    readme = (TOP / "README.md").read_text(encoding="utf-8")
    pictures = sorted(PICTURES.iterdir())
    assert [path.name for path in pictures if f"examples/pictures/{path.name}" not in readme] == []
    assert [path.name for path in pictures if path.stat().st_size > SMALL] == []
    assert len(pictures) == readme.count("examples/pictures/")


@pytest.mark.browser
def test_they_can_be_made_again(tmp_path: Path) -> None:
    """Under the same names, and loading nothing from elsewhere; fonts and versions decide how they look in detail."""
    asyncio.run(load("pictures").make(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in PICTURES.iterdir()}
    assert [path.name for path in tmp_path.glob("*.svg") if "url(http" in path.read_text(encoding="utf-8")] == []
