"""A part or two of ours in a LightningModule of your own: here an attention and a norm; everything else is plain PyTorch.

    pip install lightning-components
    python own_lightning_module.py
    python own_lightning_module.py differential        # another attention, the rest as it is

The model learns to say a row of digits backwards, which takes attention: what comes next is where the row began.
"""

import sys

import torch
from lightning import LightningModule, Trainer, seed_everything
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import components
from components.core.sockets import Batch, SequenceInfo

DIGITS, LENGTH = 10, 6
SEPARATOR = DIGITS  # after it the row comes backwards


class Block(nn.Module):
    """A pre-norm block: the parts are ours, and are called as any module is."""

    def __init__(self, width: int, attention: str) -> None:
        super().__init__()
        self.attention = components.build("attention", attention, d_model=width, n_heads=4, position="rope")
        self.norm = components.build("norm", "rms", dim=width)
        self.ffn_norm = components.build("norm", "rms", dim=width)
        self.ffn = components.build("ffn", "glu", d_model=width)

    def forward(self, x: Tensor, info: SequenceInfo) -> Tensor:
        x = x + self.attention(self.norm(x), info)
        return x + self.ffn(self.ffn_norm(x), info)


class Reverser(LightningModule):
    """Your own module, with your own steps, optimizer and log."""

    def __init__(self, attention: str = "gqa", width: int = 32) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.embedding = nn.Embedding(DIGITS + 1, width)
        self.blocks = nn.ModuleList(Block(width, attention) for _ in range(2))
        self.head = nn.Linear(width, DIGITS + 1)

    def forward(self, ids: Tensor) -> Tensor:  # (B, T) -> (B, T, V)
        x = self.embedding(ids)
        info = SequenceInfo.of(
            Batch(ids), causal=True
        )  # what attention may want to know of its rows: positions, documents, padding
        for block in self.blocks:
            x = block(x, info)
        return self.head(x)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:  # noqa: ARG002  Lightning's
        (ids,) = batch
        logits = self(ids[:, :-1])[:, LENGTH:]  # from the separator on
        loss = F.cross_entropy(logits.flatten(0, 1), ids[:, LENGTH + 1 :].flatten())
        self.log("train_loss", loss, prog_bar=True)
        self.log("accuracy", (logits.argmax(-1) == ids[:, LENGTH + 1 :]).float().mean())
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=3e-3)


def rows(count: int) -> Tensor:
    """(count, 2 * LENGTH + 1): digits, the separator, the digits backwards."""
    digits = torch.randint(0, DIGITS, (count, LENGTH))
    return torch.cat([digits, torch.full((count, 1), SEPARATOR), digits.flip(1)], 1)


def main(attention: str = "gqa") -> None:
    seed_everything(1)
    module = Reverser(attention)
    loader = DataLoader(TensorDataset(rows(3072)), batch_size=64, shuffle=True)
    trainer = Trainer(max_epochs=3, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer.fit(module, loader)
    print(
        f"{attention}: loss {trainer.callback_metrics['train_loss']:.3f}, accuracy {trainer.callback_metrics['accuracy']:.2f}"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
