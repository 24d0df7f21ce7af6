"""A LightningDataModule of one's own over a source and a tokenizer of the library."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset


class TextData(L.LightningDataModule):
    """Rows of ids, and the ids that follow them; the last tenth of the text is for validation.

    Args:
        source: gives documents.
        tokenizer: text <-> ids; trained here if it learns.
        context_length: ids in a row.
        batch_size: rows in a batch.
    """

    def __init__(self, source: Any, tokenizer: Any, context_length: int, batch_size: int) -> None:
        super().__init__()
        self.batch_size = batch_size
        texts = [document.text for document in source.documents()]
        tokenizer.train(texts)
        self.vocab_size: int = tokenizer.vocab_size
        ids = torch.tensor([i for text in texts for i in tokenizer.encode(text)])
        n_rows = (len(ids) - 1) // context_length
        rows = ids[: n_rows * context_length].view(n_rows, context_length)
        following = ids[1 : n_rows * context_length + 1].view(n_rows, context_length)
        cut = n_rows - max(1, n_rows // 10)
        self.train_rows, self.val_rows = (rows[:cut], following[:cut]), (rows[cut:], following[cut:])

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(TensorDataset(*self.train_rows), self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(TensorDataset(*self.val_rows), self.batch_size)
