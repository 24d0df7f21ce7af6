"""What an embedding is there to improve on: a token without a vector of its own."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from components.core.flops import NOTHING, Flops, Work
from components.core.registry import register
from components.core.signature import NonNegativeFloat
from components.core.sockets import SequenceInfo
from components.functional.precision import widest
from components.parts.embedding._values import Unlearned


@register("embedding", "number")
class Number(Unlearned):
    """Number: a token is its number in the vocabulary, in the first channel; the others are 0, and nothing is learned.

    With d_model=1 a position is one input. That 3 lies between 2 and 4 means nothing: token 3 is not a mixture of tokens 2 and 4.

    Args:
        scale: multiplies the number: a factor, or "vocab" for 1 / vocab_size, which brings it to [0, 1).

    Shapes: ids (B, T) -> (B, T, D).
    """

    def __init__(self, vocab_size: int, d_model: int, *, scale: NonNegativeFloat | Literal["vocab"] = 1.0) -> None:
        super().__init__()
        self.d_model, self.scale = d_model, 1 / vocab_size if scale == "vocab" else float(scale)

    def flops(self, work: Work) -> Flops:  # noqa: ARG002  the contract's argument
        return NOTHING  # no product of matrices

    def forward(self, ids: Tensor, info: SequenceInfo | None = None) -> Tensor:  # noqa: ARG002  the contract's second argument
        number = self.cast(ids.to(widest(ids.device)) * self.scale)
        return F.pad(number[..., None], (0, self.d_model - 1))
