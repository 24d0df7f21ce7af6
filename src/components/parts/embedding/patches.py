"""A picture is a sequence of patches, and the numbers of a position are the pixels of one patch.

Dosovitskiy et al. 2020 (ViT), arXiv:2010.11929, equation 1
"""

from __future__ import annotations

from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import NonNegativeFloat, Positive, Probability
from components.core.sockets import SequenceInfo, info_of
from components.functional.linear import Linear
from components.parts.embedding._values import values_of


@register("embedding", "patches")
class Patches(nn.Module):
    """Patches: the numbers of each position times one matrix.

    Args:
        d_in: how many numbers a position has: pixels of a patch times channels, columns of a table.
        bias: whether the projection has one.
        scale: multiplies every number before, to bring pixels of 0 to 255 to 0 to 1; 1 leaves them as they are.
        dropout: probability of dropping an entry of the sum of patch and position, applied by the model after ``embedding_norm``.

    Shapes: ids (B, T) with ``info.values`` (B, T, d_in) -> (B, T, D).
    Errors: ValueError where there are no values, or not d_in of them at each position.
    """

    needs = {"data": ("values",)}
    provides = ("values",)
    axes = {"projection": ("one", "d_model")}  # what it reads does not grow with the model: its weights count as an embedding's

    def __init__(
        self, d_model: int, *, d_in: Positive, bias: bool = True, scale: NonNegativeFloat = 1.0, dropout: Probability = 0.0
    ) -> None:
        super().__init__()
        self.projection = Linear(d_in, d_model, bias=bias)
        self.d_in, self.scale, self.dropout = d_in, scale, dropout

    def forward(self, ids: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(ids, info)
        x = values_of(ids, info, self.d_in, "patches", f"set d_in (it is {self.d_in}) to their number")
        x = x if self.scale == 1.0 else x * self.scale
        return self.projection(x.to(self.projection.weight.dtype))
