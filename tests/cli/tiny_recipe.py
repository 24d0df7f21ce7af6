"""A recipe of a few thousand weights and its text, for tests of commands as a user types them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

RECIPE = """# Tiny: for tests.
defaults:
  - override /tokenizer: byte
  - override /data: text
  - override /optimizer: adamw
model: {d_model: 16, n_layers: 1, context_length: 16, attention: {n_heads: 2}}
data: {path: ./text.txt}
task: {batch_size: 8, validation_every: 5, samples: 1, sample_tokens: 8, judged_samples: 0}
optimizer: {lr: 0.01}
trainer: {max_steps: 10, log_every_n_steps: 5, accelerator: cpu, precision: 32-true}
"""


def write(folder: Path, monkeypatch: Any) -> Path:
    """tiny.yaml and its text in ``folder``, from where commands are given then."""
    monkeypatch.chdir(folder)
    Path("tiny.yaml").write_text(RECIPE)
    Path("text.txt").write_text(
        "\n\n".join(f"the {w} number {i} is here" for i in range(60) for w in ("tree", "stone", "river"))
    )
    return folder
