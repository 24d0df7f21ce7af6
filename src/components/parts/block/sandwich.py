"""Ding et al. 2021 (CogView), arXiv:2105.13290, section 2.4; Gemma Team 2024 (Gemma 2), arXiv:2408.00118"""

from __future__ import annotations

from torch import Tensor

from components.core.registry import register
from components.core.sockets import Maker, SequenceInfo, info_of
from components.parts.block._branches import NormedBlock


@register("block", "sandwich")
class Sandwich(NormedBlock):
    """Sandwich block: each branch reads a normed copy of the stream, and its output is normed again before it is written.

    Args:
        norm: before and after each branch.
        output_norm: after each branch; by default ``norm``.
    """

    provides = ("sequential",)

    output_norm: Maker["norm"] = "inherit"

    def norms(self, name: str) -> tuple[Maker["norm"] | None, Maker["norm"] | None]:
        return super().norms(name)[0], self.output_norm

    def forward(self, s: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(s, info)
        for b in self.branches:
            y = b.part(b.norm(b.residual.read(s)), info)
            s = b.residual.write(s, b.output_norm(y))
        return s
