"""Every recipe that ships: it says what it is, composes, and its model is built (on the meta device)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from components.compose import all_recipes, compose
from components.core.makers import make

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests" / "golden"
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
    assert parameters >= 4  # the smallest is one unit with three inputs
    if name == "gpt2_124m":
        assert parameters == 124_439_808


def spelled_out(name: str, cwd: Path) -> str:
    """The whole config as a run would save it, less what changes with every release."""
    config = {k: v for k, v in compose(name, cwd=cwd).config.items() if k != "components"}
    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=120)


@pytest.mark.parametrize("name", RECIPES)
def test_its_spelled_out_form_is_the_golden_file(name: str, tmp_path: Path) -> None:
    """A default that changes anywhere changes what a recipe means: it shows as a diff, and is meant or mended."""
    file = GOLDEN / f"{name}.yaml"
    assert file.exists(), f"write it: python {Path(__file__).relative_to(ROOT)}"
    assert spelled_out(name, tmp_path) == file.read_text(encoding="utf8"), (
        f"if it is meant: python {Path(__file__).relative_to(ROOT)}"
    )


def test_no_golden_file_is_left_over() -> None:
    assert {f.relative_to(GOLDEN).with_suffix("").as_posix() for f in GOLDEN.rglob("*.yaml")} == set(RECIPES)


if __name__ == "__main__":
    for recipe_name in RECIPES:
        target = GOLDEN / f"{recipe_name}.yaml"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(spelled_out(recipe_name, ROOT), encoding="utf8")
