"""A part inside a LightningModule written by hand: no config, no recipe, no Hydra."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
import lightning as L
import torch
from torch import nn
import torch.nn.functional as F
from components import build
from components.parts.norm.rms import RMSNorm

class Mine(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(20, 32)
        self.attention = build("attention", "gqa", d_model=32, n_heads=4, n_kv_heads=2, position="rope", qk_norm=RMSNorm)
        self.head = nn.Linear(32, 20)

    def training_step(self, ids, _):
        x = self.embed(ids)
        logits = self.head(x + self.attention(x))
        self.loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        return self.loss

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-2)

torch.manual_seed(0)
ids = torch.arange(16).repeat(64, 1)
task = Mine()
L.Trainer(max_epochs=5, logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, accelerator="cpu").fit(
    task, torch.utils.data.DataLoader(ids, batch_size=16)
)
assert task.loss < 0.5, task.loss
assert "hydra" not in sys.modules and "omegaconf" not in sys.modules
print("trained")
"""


def test_a_part_in_a_lightning_module_written_by_hand(tmp_path):
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "trained" in done.stdout
