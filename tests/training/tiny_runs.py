"""A model of a few thousand weights on a text of its own: a run of 20 steps takes about a second."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any


def story(seed: int = 0, documents: int = 60) -> str:
    """Words in sentences, documents apart by blank lines."""
    drawn = random.Random(seed)
    words = ["tree", "stone", "river", "bird", "walks", "sings", "over", "under", "green", "old", "the", "a"]
    return "\n\n".join(" ".join(drawn.choices(words, k=drawn.randint(20, 60))) + f" {i}." for i in range(documents))


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    out = copy.deepcopy(base)
    for key, value in changes.items():
        out[key] = (
            merged(out[key], value)
            if isinstance(value, dict) and isinstance(out.get(key), dict) and "name" not in value
            else value
        )
    return out


def make_tiny(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """``tiny(trainer={...}, task={...})`` -> a spelled-out config whose runs and cache are in the test's own folder."""
    text = tmp_path / "story.txt"
    if not text.exists():  # ranks share the folder: one must not empty what another reads
        text.write_text(story())

    def config(**changes: Any) -> dict[str, Any]:
        base = {
            "recipe": "tiny",
            "seed": 3,
            "model": {
                "name": "decoder",
                "d_model": 16,
                "n_layers": 2,
                "context_length": 16,
                "attention": {"name": "gqa", "n_heads": 2},
            },
            "tokenizer": {"name": "byte"},
            "data": {"name": "text", "path": str(text), "split_on": "blank_lines"},
            "task": {
                "name": "language_modeling",
                "batch_size": 8,
                "validation_every": 5,
                "validation_fraction": 0.2,
                "test_fraction": 0.1,
                "samples": 0,
                "judged_samples": 0,
            },
            "loss": {"name": "next_token"},
            "optimizer": {"name": "adamw", "lr": 1e-2},
            "schedule": {"name": "cosine"},
            "decoding": {"name": "sample"},
            "cache": {"name": "growing"},
            "trainer": {"max_steps": 20, "accelerator": "cpu", "devices": 1, "log_every_n_steps": 5},
            "logger": {"name": "csv"},
            "callbacks": {},
            "paths": {"runs": str(tmp_path / "runs"), "cache": str(tmp_path / "cache")},
        }
        return merged(base, changes)

    return config
