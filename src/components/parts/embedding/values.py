"""Rosenblatt 1958, doi:10.1037/h0042519 (what the input layer of a perceptron is)"""

from __future__ import annotations

from torch import Tensor

from components.core.flops import NOTHING, Flops, Work
from components.core.registry import register
from components.core.signature import NonNegativeFloat
from components.core.sockets import SequenceInfo, info_of
from components.parts.embedding._values import Unlearned, values_of


@register("embedding", "values")
class Values(Unlearned):
    """Values: the numbers of each position are its vector as they are, so that d_model is how many there are.

    Args:
        scale: multiplies every number; 1 leaves them as they are.

    Shapes: ids (B, T) with ``info.values`` (B, T, D) -> (B, T, D).
    Errors: ValueError where there are no values, or not d_model of them at each position.
    """

    needs = {"data": ("values",)}
    provides = ("values",)

    def __init__(self, d_model: int, *, scale: NonNegativeFloat = 1.0) -> None:
        super().__init__()
        self.d_in, self.scale = d_model, scale

    def flops(self, work: Work) -> Flops:  # noqa: ARG002  the contract's argument
        return NOTHING  # no product of matrices

    def forward(self, ids: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(ids, info)
        x = values_of(ids, info, self.d_in, "values", "set d_model to their number, or project them with embedding=patches")
        return self.cast(x if self.scale == 1.0 else x * self.scale)
