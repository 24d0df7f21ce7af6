"""Linear head: a matrix of its own from vectors to logits."""

from __future__ import annotations

from torch import Tensor, nn

from components.registry import register
from components.sockets import SequenceInfo


@register("head", "linear")
class LinearHead(nn.Module):
    """Linear head: a matrix of its own from vectors to logits.

    Args:
        bias: whether each logit has one.

    Shapes: (B, T, D) -> (B, T, V).
    """

    axes = {"logits": ("d_model", "vocab")}

    def __init__(self, d_model: int, vocab_size: int, *, bias: bool = False) -> None:
        super().__init__()
        self.logits = nn.Linear(d_model, vocab_size, bias=bias)

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:  # noqa: ARG002  the contract's second argument
        return self.logits(x)
