"""docs/how_to/add_an_architecture.md shows the files that there are, and they are as short as it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "how_to" / "add_an_architecture.md").read_text(encoding="utf8")
MAPPING = ROOT / "src" / "components" / "interop" / "architectures" / "nemotron.py"
RECIPE = ROOT / "recipes" / "known" / "nemotron_4_15b.yaml"
ROWS = Path(__file__).with_name("oracles_nemotron.py")


def block(language: str) -> str:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.M | re.S)[0]


@pytest.mark.parametrize(("language", "file"), [("python", MAPPING), ("yaml", RECIPE)])
def test_the_page_shows_the_file(language, file):
    assert block(language) == file.read_text(encoding="utf8")
    assert f"`{file.relative_to(ROOT).as_posix()}`" in PAGE


def test_the_page_shows_the_row():
    assert block("py") == ROWS.read_text(encoding="utf8")
    assert f"`{ROWS.relative_to(ROOT).as_posix()}`" in PAGE


def test_both_files_have_at_most_60_lines():
    assert sum(len(f.read_text(encoding="utf8").splitlines()) for f in (MAPPING, RECIPE)) <= 60
    assert "at most 60 lines together" in PAGE


NEW = {  # mapping: recipe
    **{
        "smollm3": "smollm3_3b",
        "arcee": "arcee_4b",
        "helium": "helium_1_2b",
        "seed_oss": "seed_oss_36b",
        "ernie4_5": "ernie4_5_0_3b",
    },
    **{
        "hunyuan_v1_dense": "hunyuan_v1_7b",
        "olmoe": "olmoe_1b_7b",
        "glm": "glm_4_9b",
        "glm4": "glm_4_9b_0414",
        "dots1": "dots1",
    },
    **{
        "starcoder2": "starcoder2_3b",
        "stablelm": "stablelm_3b",
        "cohere2": "command_r7b",
        "exaone4": "exaone4_32b",
        "cwm": "cwm_32b",
    },
    **{
        "ministral": "ministral_8b",
        "nanochat": "nanochat_d20",
        "glm4_moe": "glm_4_5_air",
        "mbart": "mbart_large",
        "plbart": "plbart_base",
        "biogpt": "biogpt",
    },
    **{"blenderbot": "blenderbot_3b", "persimmon": "persimmon_8b", "vaultgemma": "vaultgemma_1b", "jais2": "jais_2_8b"},
    **{"granite_moe_shared": "granite_moe_shared", "qwen2_moe": "qwen1_5_moe_a2_7b", "flex_olmo": "flex_olmo_7x7b"},
    **{
        "solar_open": "solar_open_100b",
        "youtu": "youtu_2b",
        "hyperclovax": "hyperclovax",
        "eurobert": "eurobert_210m",
        "mellum": "mellum2",
    },
}


@pytest.mark.parametrize("mapping", NEW)
def test_what_is_made_of_parts_that_exist_is_as_short(mapping):
    files = (MAPPING.with_name(f"{mapping}.py"), RECIPE.with_name(f"{NEW[mapping]}.yaml"))
    assert sum(len(f.read_text(encoding="utf8").splitlines()) for f in files) <= 60


def test_no_part_is_of_this_architecture():
    """What the recipe names is made of parts that were there: none says that it serves this model alone."""
    named = [f for f in (ROOT / "src" / "components").rglob("*.py") if "nemotron" in f.name.lower()]
    assert MAPPING in named
    assert {f.parent for f in named} == {MAPPING.parent}
