"""An activation that grows faster than its input: the integral of an ELU, with one learned curvature on each side of 0.

Huang & Schlag 2024, arXiv:2411.13010; Apertus 2025, arXiv:2509.14233
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import Positive, PositiveFloat
from components.core.sockets import SequenceInfo
from components.functional.activations import xielu
from components.functional.linear import Linear


@register("ffn", "xielu")
class XIELU(nn.Module):
    """xIELU MLP: widen, bend by a learned expanded integral of the ELU, narrow again.

    With x > 0 it bends to alpha_p x^2 + beta x, else to alpha_n (exp(x) - 1 - x) + beta x. Two numbers of each layer are learned: alpha_p is the softplus
    of the one, alpha_n beta more than that of the other, so that the slope at 0 is beta and no side turns over.

    Args:
        d_ff: width in between; null: ``widen`` times d_model.
        widen: used where d_ff is null.
        alpha_p: first curvature above 0.
        alpha_n: first curvature below 0, greater than beta.
        beta: slope at 0.
        bias: whether both projections have one.

    Shapes: (B, T, D) -> (B, T, D).
    Errors: ValueError if alpha_n is at most beta.
    """

    axes = {"up": ("d_model", "d_ff"), "out": ("d_ff", "d_model"), "alpha_p": ("one",), "alpha_n": ("one",)}

    def __init__(
        self,
        d_model: int,
        *,
        d_ff: Positive | None = None,
        widen: PositiveFloat = 4.0,
        alpha_p: PositiveFloat = 0.8,
        alpha_n: PositiveFloat = 0.8,
        beta: PositiveFloat = 0.5,
        bias: bool = False,
    ) -> None:
        super().__init__()
        if alpha_n <= beta:
            raise ValueError(f"alpha_n={alpha_n} is at most beta={beta}, and it is learned as beta and something above 0")
        width = int(d_model * widen) if d_ff is None else d_ff
        self.splits = {"d_ff": width}
        self.first, self.beta = (alpha_p, alpha_n - beta), beta
        self.up = Linear(d_model, width, bias=bias)
        self.out = Linear(width, d_model, bias=bias)
        self.alpha_p, self.alpha_n = (nn.Parameter(torch.empty(1)) for _ in range(2))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for parameter, value in zip((self.alpha_p, self.alpha_n), self.first, strict=True):
            nn.init.constant_(parameter, math.log(math.expm1(value)))  # the inverse of softplus

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:  # noqa: ARG002  the contract's second argument
        y = self.up(x)
        above, below = (F.softplus(a).to(y.dtype) for a in (self.alpha_p, self.alpha_n))
        return self.out(xielu(y, above, self.beta + below, self.beta))
