"""Shleifer et al. 2021, arXiv:2110.09456, section 2"""

from __future__ import annotations

from torch import Tensor

from components.core.registry import register
from components.core.sockets import Maker, SequenceInfo, info_of
from components.parts.block._branches import NormedBlock


@register("block", "norm_former")
class NormFormer(NormedBlock):
    """NormFormer block: pre-norm, and what attention read is normed again before it is written.

    Args:
        norm: before each branch, and after attention.
        output_norm: after each attention; by default ``norm``.

    The paper's two other changes stand inside the branches: a scale for each head (a ``gate`` of attention) and a norm of the ffn's inner
    activations (the ffn's).
    """

    provides = ("sequential",)

    output_norm: Maker["norm"] = "inherit"

    def norms(self, name: str) -> tuple[Maker["norm"] | None, Maker["norm"] | None]:
        return super().norms(name)[0], None if name == "ffn" else self.output_norm

    def forward(self, s: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(s, info)
        for b in self.branches:
            y = b.part(b.norm(b.residual.read(s)), info)
            s = b.residual.write(s, b.output_norm(y))
        return s
