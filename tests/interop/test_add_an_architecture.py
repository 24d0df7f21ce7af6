"""docs/how_to/add_an_architecture.md shows the files that there are, and they are as short as it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "how_to" / "add_an_architecture.md").read_text(encoding="utf8")
MAPPING = ROOT / "src" / "components" / "interop" / "architectures" / "nemotron.py"
RECIPE = ROOT / "recipes" / "known" / "nemotron_4_15b.yaml"
ROWS = Path(__file__).with_name("oracles_older.py")


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.M | re.S)
    return found


@pytest.mark.parametrize(("language", "file"), [("python", MAPPING), ("yaml", RECIPE)])
def test_the_page_shows_the_file(language, file):
    assert block(language) == file.read_text(encoding="utf8")
    assert f"`{file.relative_to(ROOT).as_posix()}`" in PAGE


def test_the_page_shows_the_row():
    assert block("py") in ROWS.read_text(encoding="utf8")


def test_both_files_have_at_most_60_lines():
    assert sum(len(f.read_text(encoding="utf8").splitlines()) for f in (MAPPING, RECIPE)) <= 60
    assert "at most 60 lines together" in PAGE


def test_no_part_is_of_this_architecture():
    """What the recipe names is made of parts that were there: none says that it serves this model alone."""
    named = [f for f in (ROOT / "src" / "components").rglob("*.py") if "nemotron" in f.name.lower()]
    assert named == [MAPPING]
