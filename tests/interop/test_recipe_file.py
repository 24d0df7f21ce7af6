"""The recipe that is printed for a config.json: as short as one written by hand, and the same model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from parity import quoted

from components.compose import compose
from components.core.resources import recipe_files
from components.interop import convert
from components.interop.config import architecture_of, recipe_of
from components.interop.recipe_file import recipe_file

FOLDER = Path(convert.__file__).with_name("architectures")
NEW = ("smollm3_3b", "glm_4_5_air", "olmoe_1b_7b")


@pytest.mark.parametrize("name", ["deepseek_v3", "t5_small", "phi3_mini", "nemotron_4_15b", "starcoder2_3b", *NEW])
def test_it_is_short_and_the_same_model(name, tmp_path):
    source = quoted(f"known/{name}")
    recipe, _ = recipe_of(architecture_of(source, name), source, name)
    text = recipe_file(recipe, f"{name} as it is printed.", source)
    (tmp_path / "printed.yaml").write_text(text)
    whole = convert.spelled_out(recipe)
    assert compose(str(tmp_path / "printed.yaml")).config["model"] == whole["model"]
    assert text.index("# config.json: ") < 1400
    printed = text[: text.index("# config.json: ")]
    assert printed.count("\n") <= 18
    assert "{}" not in printed, "a part of which nothing is said"
    comment = text[text.index("# config.json: ") :].removeprefix("# config.json: ").replace("\n# ", " ")
    assert json.loads(comment) == source
    if name in NEW:  # nothing was added to what is printed but its sentence
        assert recipe_files()[f"known/{name}"][1].read_text(encoding="utf8").split("\n", 1)[1] == text.split("\n", 1)[1]


def test_a_part_keeps_its_name():
    source = quoted("known/smollm3_3b")
    recipe, _ = recipe_of(architecture_of(source, ""), source, "")
    text = recipe_file(recipe, "A sentence.", source)
    assert "  norm: rms\n" in text
    assert "dropout" not in text
