"""Which recipes use a part is kept between commands, and never what it was before a file changed."""

from __future__ import annotations

import json

import pytest

from components.compose import used_parts
from components.core import registry
from components.core.registry import register, unregister

MINE = "defaults:\n  - override /model/norm: {norm}\n"


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COMPONENTS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "recipes").mkdir()
    file = tmp_path / "recipes" / "mine.yaml"
    file.write_text(MINE.format(norm="rms"))
    used_parts._found.cache_clear()
    live = dict(registry.LIVE)  # of other tests: with parts of this process nothing is kept
    registry.LIVE.clear()
    yield file
    registry.LIVE.update(live)
    used_parts._found.cache_clear()


def test_a_recipe_that_changes_is_composed_anew(mine, monkeypatch):
    assert "mine" in used_parts.recipes_with("norm/rms")
    assert "mine" not in used_parts.recipes_with("norm/layer")
    assert "known/llama3_1_8b" in used_parts.recipes_with("attention/gqa")
    mine.write_text(MINE.format(norm="layer"))
    assert "mine" in used_parts.recipes_with("norm/layer")
    assert "mine" not in used_parts.recipes_with("norm/rms")
    used_parts._found.cache_clear()  # another process
    monkeypatch.setattr(used_parts, "_composed", lambda: pytest.fail("all recipes are composed again"))
    assert "mine" in used_parts.recipes_with("norm/layer")


def test_a_file_that_was_edited_is_made_anew(mine, tmp_path):  # noqa: ARG001
    used_parts.parts_of_recipes()
    store = tmp_path / "cache" / "used.json"
    held = json.loads(store.read_text())
    for text in ("{", json.dumps({**held, "stamp": []})):
        store.write_text(text)
        used_parts._found.cache_clear()
        assert "mine" in used_parts.recipes_with("norm/rms")


def test_parts_of_this_process_are_seen(mine):
    @register("norm", "of_now")
    class OfNow:
        """A norm of this process."""

        def __init__(self, dim: int) -> None: ...

    try:
        mine.write_text(MINE.format(norm="of_now"))
        assert used_parts.recipes_with("norm/of_now") == ["mine"]
    finally:
        unregister("norm", "of_now")
