"""Team OLMo 2024 (OLMo 2), arXiv:2501.00656, section 2.1"""

from __future__ import annotations

from torch import Tensor

from components.core.registry import register
from components.core.sockets import SequenceInfo, info_of
from components.parts.block._branches import NormedBlock


@register("block", "output_norm")
class OutputNorm(NormedBlock):
    """Output-norm block: each branch reads the stream as it is, and its output is normed before it is written.

    Args:
        norm: of each branch's output.
        attention_norm: of the output of the attention; by default ``norm``.
        cross_norm: of the output of the cross attention; by default ``norm``.
        ffn_norm: of the output of the ffn; by default ``norm``.
    """

    provides = ("sequential",)

    def forward(self, s: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(s, info)
        for b in self.branches:
            s = b.residual.write(s, b.norm(b.part(b.residual.read(s), info)))
        return s
