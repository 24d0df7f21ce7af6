"""What runs of GRPO over a tiny conversation are asked, for the tests that draw answers."""

from __future__ import annotations

import json
from pathlib import Path


def words_of(folder: Path, *task: str) -> list[str]:
    """Overrides of ``recipe=llama_tiny`` on thirty conversations, which are written into ``folder``, the present one."""
    talks = [{"prompt": f"say {i}", "completion": f"{i % 3}!"} for i in range(30)]
    (folder / "t.jsonl").write_text("\n".join(map(json.dumps, talks)))
    size = ["model.d_model=16", "model.n_layers=1", "model.context_length=96", "task.samples=0", "trainer.precision=64-true"]
    data = ["data=conversations", "data.path=t.jsonl", "tokenizer=byte", "task.validation_fraction=0.2"]
    both = ["task=grpo", "task.group_size=3", "task.batch_size=4", "optimizer.lr=1e-2", "trainer.accelerator=cpu"]
    return ["recipe=llama_tiny", *size, *data, *both, *task]
