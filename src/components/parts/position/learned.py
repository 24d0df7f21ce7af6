"""Gehring et al. 2017, arXiv:1705.03122; Radford et al. 2019 (GPT-2)"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from components.core.registry import register
from components.core.signature import NonNegative
from components.core.sockets import SequenceInfo, info_of


@register("position", "learned")
class LearnedPosition(nn.Module):
    """Learned absolute positions: one vector per position, added to the embedding.

    Args:
        offset: rows of the table before position 0 (2 in BART and RoBERTa).

    Errors: a sequence longer than context_length, cached positions included, has no vectors; ``embed`` raises ValueError.
    """

    axes = {"table": ("one", "d_model")}
    share = "stack"  # added to the embedding, so once, whatever the pattern and the heads of the layers
    bounded = True  # nothing beyond context_length: decoding stops there

    def __init__(self, d_model: int, context_length: int, *, offset: NonNegative = 0) -> None:
        super().__init__()
        self.table = nn.Embedding(context_length + offset, d_model)
        self.context_length, self.offset = context_length, offset

    def embed(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(x, info)
        if x.shape[1] > self.context_length:
            raise ValueError(f"{x.shape[1]} positions, but the learned table has context_length={self.context_length}")
        at = info.placed()
        unread = torch.compiler.is_compiling() or isinstance(at, FakeTensor)
        if info.cache is not None and not unread and int(at.max()) >= self.context_length:
            raise ValueError(
                f"position {int(at.max())} in a cached call, but the learned table has context_length={self.context_length}"
            )
        return x + self.table(at + self.offset)
