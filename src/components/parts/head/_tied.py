"""What the heads have in common that multiply by a table which belongs to the embedding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from components.core.flops import Flops, Work, both, children
from components.core.traits import provides
from components.core.weights import weight_of
from components.functional.decode_products import product
from components.functional.logits import multiplied, soft_capped


class Tied(nn.Module):
    """Vectors (..., W) -> logits (..., V) by the table (V, W) of ``embedding``; which of its matrices that is, ``table`` says.

    Args:
        vocab_size: V.
        embedding: whose table it is.
        bias: whether each logit has one, which is the head's own; "fixed": a number that is kept but not trained.
        soft_cap: c in c * tanh(logit / c); None: none.
        multiplier: factor on the product, before the bias: a number, or "rsqrt" for 1 / sqrt(W).

    Raises:
        ValueError: the embedding has no such table.
    """

    embedding: nn.Module
    needs: Mapping[str, tuple[str, ...]]
    splits: Mapping[str, int] = {}

    def __init__(
        self,
        vocab_size: int,
        embedding: nn.Module,
        bias: bool | Literal["fixed"],
        soft_cap: float | None,
        multiplier: float | Literal["rsqrt"],
    ) -> None:
        super().__init__()
        for table in self.needs["embedding"]:
            if not provides(embedding, table):
                raise ValueError(
                    f"reads the {table} of its embedding, and {type(embedding).__name__} has none: use head=linear"
                )
        # not a child: the matrix belongs to the embedding, and appears once in the state dict
        object.__setattr__(self, "embedding", embedding)
        self.bias = nn.Parameter(torch.empty(vocab_size)) if bias is True else None
        if bias == "fixed":
            del self.bias
            self.register_buffer("bias", torch.empty(vocab_size))
        self.splits = {} if bias == "fixed" else {"vocab": vocab_size}
        self.width: int = self.table.embedding_dim  # type: ignore[assignment]  # a number
        self.soft_cap, self.multiplier = soft_cap, self.width**-0.5 if multiplier == "rsqrt" else float(multiplier)
        self.reset_parameters()

    @property
    def table(self) -> nn.Module:
        """Asked each time, since an adapter may stand in its place."""
        raise NotImplementedError

    def reset_parameters(self) -> None:
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def flops(self, work: Work) -> Flops:
        return children(self, work) + both(2 * weight_of(self.table).numel() * work.length)

    def logits(self, x: Tensor) -> Tensor:
        return soft_capped(product(self, multiplied(x, self.multiplier)), self.soft_cap)

    def matrix(self) -> tuple[Tensor, Tensor | None]:
        return weight_of(self.table), self.bias
