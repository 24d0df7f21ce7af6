"""Tied head: the embedding's own matrix turns vectors back into logits.

Press & Wolf 2016, arXiv:1608.05859
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from components.flops import Flops, Work, both
from components.registry import register
from components.sockets import SequenceInfo
from components.weights import weight_of


@register("head", "tied")
class TiedHead(nn.Module):
    """Tied head: the embedding's own matrix turns vectors back into logits.

    Shapes: (B, T, D) -> (B, T, V).
    """

    needs = {"embedding": ("table",)}

    def __init__(self, embedding: nn.Module) -> None:
        super().__init__()
        # not a child: the matrix belongs to the embedding, and appears once in the state dict
        object.__setattr__(self, "embedding", embedding)

    def flops(self, work: Work) -> Flops:
        return both(2 * weight_of(self.embedding.table).numel() * work.length)  # type: ignore[attr-defined]

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:  # noqa: ARG002  the contract's second argument
        return F.linear(x, weight_of(self.embedding.table))  # type: ignore[attr-defined]
