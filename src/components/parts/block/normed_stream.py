"""MiniMax 2025 (MiniMax-01), arXiv:2501.08313, with DeepNorm's constants: Wang et al. 2022, arXiv:2203.00555"""

from __future__ import annotations

from torch import Tensor

from components.core.registry import register
from components.core.sockets import SequenceInfo, info_of
from components.parts.block._branches import NormedBlock


@register("block", "normed_stream")
class NormedStream(NormedBlock):
    """Normed-stream block: the stream itself is normed before each branch, and the branch reads it and is written into it as it is then.

    A post-norm block whose norms stand one place earlier: the first is of the embedding, and what the last branch has written stays for the norm after all layers.

    Args:
        norm: of the stream before each branch that has none of its own.
    """

    provides = ("sequential",)

    def forward(self, s: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(s, info)
        for b in self.branches:
            s = b.norm(s)
            s = b.residual.write(s, b.part(b.residual.read(s), info))
        return s
