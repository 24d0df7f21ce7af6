"""Xiong et al. 2020, arXiv:2002.04745"""

from __future__ import annotations

from torch import Tensor

from components.core.registry import register
from components.core.sockets import SequenceInfo, info_of
from components.parts.block._branches import NormedBlock


@register("block", "pre_norm")
class PreNorm(NormedBlock):
    """Pre-norm block: each branch reads a normed copy of the stream, and the stream itself is never normed."""

    provides = ("sequential",)

    def forward(self, s: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(s, info)
        for b in self.branches:
            s = b.residual.write(s, b.part(b.norm(b.residual.read(s)), info))
        return s
