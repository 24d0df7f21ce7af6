"""Black et al. 2022 (GPT-NeoX-20B), arXiv:2204.06745, section 2.1; Almazrouei et al. 2023 (Falcon-40B), arXiv:2311.16867"""

from __future__ import annotations

from torch import Tensor

from components.core.registry import register
from components.core.sockets import SequenceInfo, info_of
from components.parts.block._branches import NormedBlock, write_all


@register("block", "parallel_two_norms")
class ParallelTwoNorms(NormedBlock):
    """Parallel block with a norm for each branch: all read the same stream, each through a norm of its own, and their outputs are added."""

    def forward(self, s: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(s, info)
        inputs = [b.norm(b.residual.read(s)) for b in self.branches]
        return write_all(self.branches, inputs, s, info)
