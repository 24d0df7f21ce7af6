"""A recipe that was made from a config.json, composed: what every option of it is."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import yaml

from components.compose import compose
from components.core.config_types import Config
from components.core.files import write_text


def vocab_of(recipe: Config) -> int:
    return int(recipe["vocab_size"])


def spelled_out(recipe: Mapping[str, object]) -> Config:
    """The composed config of a recipe's nodes."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "imported.yaml"
        write_text(file, recipe_text(recipe, "imported"))
        return compose(str(file)).config


def recipe_text(recipe: Mapping[str, object], sentence: str) -> str:
    nodes = {k: v for k, v in recipe.items() if k != "vocab_size"}
    return f"# {sentence}\n" + yaml.safe_dump(nodes, sort_keys=False, allow_unicode=True, width=150, default_flow_style=None)
