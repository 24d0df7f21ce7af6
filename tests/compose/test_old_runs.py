"""Configs that runs of earlier versions have saved still load, mean what they meant, and build. One is added with every release."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from components.compose import compose
from components.core.makers import make

FILES = sorted((Path(__file__).parents[1] / "old_runs").glob("*.yaml"))


def test_there_are_some() -> None:
    assert len(FILES) >= 3


@pytest.mark.parametrize("file", FILES, ids=[f.stem for f in FILES])
def test_it_loads_means_the_same_and_builds(file: Path, tmp_path: Path) -> None:
    saved = yaml.safe_load(file.read_text(encoding="utf8"))
    composed = compose(base=saved, cwd=tmp_path)
    assert lost(saved["model"], composed.config["model"]) == []
    assert composed.config["recipe"] == saved["recipe"]
    with torch.device("meta"):
        make(composed.config["model"], "model", vocab_size=300)


def lost(old: Any, new: Any, path: str = "model") -> list[str]:
    """Paths whose saved value is no longer there. Options that have been renamed since are not looked for here."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [p for k, v in old.items() if k in new for p in lost(v, new[k], f"{path}.{k}")]
    return [] if old == new else [path]
