"""Lu et al. 2019, arXiv:1906.02762, section 3.2 (pre-norm as in Gulati et al. 2020, Conformer, arXiv:2005.08100)"""

from __future__ import annotations

from torch import Tensor

from components.core.registry import register
from components.core.signature import NonNegativeFloat
from components.core.sockets import Maker, SequenceInfo, info_of
from components.parts.block._branches import NormedBlock


@register("block", "macaron")
class Macaron(NormedBlock):
    """Macaron block: half an ffn, attention, half an ffn, each reading a normed copy of the stream.

    Args:
        first_ffn: the first branch; by default another one like ``ffn``.
        first_ffn_norm: before the first ffn; by default ``norm``.
        scale: factor on the output of each ffn.
    """

    provides = ("sequential",)

    order = ("first_ffn", "attention", "cross", "ffn")

    first_ffn: Maker["ffn"] = "inherit"
    first_ffn_norm: Maker["norm"] = "inherit"
    scale: NonNegativeFloat = 0.5

    def forward(self, s: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(s, info)
        for b in self.branches:
            y = b.part(b.norm(b.residual.read(s)), info)
            s = b.residual.write(s, self.scale * y if b.name.endswith("ffn") else y)
        return s
