"""Press & Wolf 2016, arXiv:1608.05859; bias: Devlin et al. 2018 (BERT), arXiv:1810.04805; multiplier: Raffel et al. 2019 (T5), arXiv:1910.10683"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from components.core.flops import Flops, Work, both
from components.core.registry import register
from components.core.signature import PositiveFloat
from components.core.sockets import SequenceInfo
from components.core.weights import weight_of
from components.functional.decode_products import product
from components.functional.logits import multiplied, soft_capped


@register("head", "tied")
class TiedHead(nn.Module):
    """Tied head: the embedding's own matrix turns vectors back into logits.

    Args:
        bias: whether each logit has one, which is the head's own; "fixed": a number that is kept but not trained (BART's ``final_logits_bias``).
        soft_cap: c in c * tanh(logit / c), which keeps logits within (-c, c); null: none.
        multiplier: factor on the product, before the bias: a number, or "rsqrt" for 1 / sqrt(d_model).

    Shapes: (B, T, D) -> (B, T, V).
    Errors: ValueError where the embedding's vectors are of another width than those that the head reads.
    """

    needs = {"embedding": ("table",)}
    axes = {"bias": ("vocab",)}

    def __init__(
        self,
        d_model: int,
        vocab_size: int,
        embedding: nn.Module,
        *,
        bias: bool | Literal["fixed"] = False,
        soft_cap: PositiveFloat | None = None,
        multiplier: PositiveFloat | Literal["rsqrt"] = 1.0,
    ) -> None:
        super().__init__()
        # not a child: the matrix belongs to the embedding, and appears once in the state dict
        object.__setattr__(self, "embedding", embedding)
        if (width := embedding.table.embedding_dim) != d_model:  # type: ignore[union-attr]
            raise ValueError(
                f"head/tied reads vectors of width {d_model}, and the embedding's are {width} wide: use head=linear"
            )
        self.bias = nn.Parameter(torch.empty(vocab_size)) if bias is True else None
        if bias == "fixed":
            del self.bias
            self.register_buffer("bias", torch.empty(vocab_size))
        self.splits = {} if bias == "fixed" else {"vocab": vocab_size}
        self.soft_cap = soft_cap
        self.multiplier = d_model**-0.5 if multiplier == "rsqrt" else float(multiplier)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def flops(self, work: Work) -> Flops:
        return both(2 * weight_of(self.embedding.table).numel() * work.length)  # type: ignore[attr-defined]

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:  # noqa: ARG002  the contract's second argument
        return soft_capped(product(self, multiplied(x, self.multiplier)), self.soft_cap)

    def matrix(self) -> tuple[Tensor, Tensor | None]:
        return weight_of(self.embedding.table), self.bias  # type: ignore[attr-defined]
