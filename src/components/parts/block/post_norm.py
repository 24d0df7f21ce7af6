"""Vaswani et al. 2017, arXiv:1706.03762"""

from __future__ import annotations

from torch import Tensor

from components.core.registry import register
from components.core.sockets import SequenceInfo, info_of
from components.parts.block._branches import NormedBlock


@register("block", "post_norm")
class PostNorm(NormedBlock):
    """Post-norm block: each branch is written into the stream, and then the stream is normed.

    Args:
        norm: of the stream after each branch that has none of its own.
        attention_norm: after the attention; by default ``norm``.
        cross_norm: after the cross attention; by default ``norm``.
        ffn_norm: after the ffn; by default ``norm``.
    """

    provides = ("sequential",)

    def forward(self, s: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(s, info)
        for b in self.branches:
            s = b.norm(b.residual.write(s, b.part(b.residual.read(s), info)))
        return s
