"""Every recipe that ships: it says what it is, composes, and its model is built (on the meta device)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from components.compose import all_recipes, compose
from components.makers import make

ROOT = Path(__file__).parent.parent
RECIPES = sorted(f.relative_to(ROOT / "recipes").with_suffix("").as_posix() for f in (ROOT / "recipes").rglob("*.yaml"))


def test_recipes_are_found() -> None:
    assert {"gpt_python", "llama_python", "gpt2_124m", "llama_tiny"} <= set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_it_says_what_it_is_and_composes_and_builds(name: str, tmp_path: Path) -> None:
    recipe = all_recipes(tmp_path)[name]
    assert 20 < len(recipe.sentence) < 160
    composed = compose(name, cwd=tmp_path)
    assert compose(base=composed.config, cwd=tmp_path).config == composed.config
    with torch.device("meta"):
        model = make(composed.config["model"], "model", vocab_size=composed.config["tokenizer"].get("vocab_size", 300))
    parameters = sum(p.numel() for p in model.parameters())
    assert parameters > 10_000
    if name == "gpt2_124m":
        assert parameters == 124_439_808
