"""Soft cap: Gemma 2 2024, arXiv:2408.00118, section 2; multiplier: Yang et al. 2022 (muP), arXiv:2203.03466, and the Granite and Cohere models"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import PositiveFloat
from components.core.sockets import SequenceInfo
from components.functional.linear import Linear
from components.functional.logits import multiplied, soft_capped


@register("head", "linear")
class LinearHead(nn.Module):
    """Linear head: a matrix of its own from vectors to logits.

    Args:
        bias: whether each logit has one.
        soft_cap: c in c * tanh(logit / c), which keeps logits within (-c, c); null: none.
        multiplier: factor on the product, before the bias: a number, or "rsqrt" for 1 / sqrt(d_model).

    Shapes: (B, T, D) -> (B, T, V).
    """

    axes = {"logits": ("d_model", "vocab")}

    def __init__(
        self,
        d_model: int,
        vocab_size: int,
        *,
        bias: bool = False,
        soft_cap: PositiveFloat | None = None,
        multiplier: PositiveFloat | Literal["rsqrt"] = 1.0,
    ) -> None:
        super().__init__()
        self.splits = {"vocab": vocab_size}
        self.logits = Linear(d_model, vocab_size, bias=bias)
        self.soft_cap = soft_cap
        self.multiplier = d_model**-0.5 if multiplier == "rsqrt" else float(multiplier)

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:  # noqa: ARG002  the contract's second argument
        return soft_capped(self.logits(multiplied(x, self.multiplier)), self.soft_cap)
