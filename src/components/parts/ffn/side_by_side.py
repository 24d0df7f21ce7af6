"""Gemma 4 2026 (a dense ffn beside its experts); two of different kinds side by side: Rajbhandari et al. 2022 (residual MoE), arXiv:2201.05596"""

from __future__ import annotations

from torch import Tensor, nn

from components.core.registry import register
from components.core.sockets import Maker, Place, SequenceInfo, info_of, make


@register("ffn", "side_by_side")
class SideBySide(nn.Module):
    """Side by side: two ffns read the same vectors, each with norms of its own, and what they write is added.

    Args:
        first: one of them.
        second: the other.
        first_norm: of what the first reads.
        second_norm: of what the second reads.
        first_output_norm: of what the first writes.
        second_output_norm: of what the second writes.

    Shapes: (B, T, D) -> (B, T, D).
    Errors: ValueError where one of them is absent.
    """

    def __init__(
        self,
        d_model: int,
        place: Place | None = None,
        *,
        first: Maker["ffn"] = "glu",
        second: Maker["ffn"] = "moe",
        first_norm: Maker["norm"] = "none",
        second_norm: Maker["norm"] = "none",
        first_output_norm: Maker["norm"] = "none",
        second_output_norm: Maker["norm"] = "none",
    ) -> None:
        super().__init__()
        layer = {} if place is None else {"place": place}
        self.first, self.second = (make(f, "ffn", d_model=d_model, **layer) for f in (first, second))
        for name, part in (("first", self.first), ("second", self.second)):
            if part.absent:
                raise ValueError(f"{name}=none leaves one ffn, with nothing beside it: use that one in place of side_by_side")
        self.first_norm, self.second_norm = (make(n, "norm", dim=d_model) for n in (first_norm, second_norm))
        self.first_output_norm = make(first_output_norm, "norm", dim=d_model)
        self.second_output_norm = make(second_output_norm, "norm", dim=d_model)

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(x, info)
        first = self.first_output_norm(self.first(self.first_norm(x), info))
        return first + self.second_output_norm(self.second(self.second_norm(x), info))
