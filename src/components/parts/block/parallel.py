"""Wang & Komatsuzaki 2021 (GPT-J); Chowdhery et al. 2022 (PaLM), arXiv:2204.02311, section 2"""

from __future__ import annotations

from torch import Tensor

from components.core.registry import register
from components.core.sockets import SequenceInfo, info_of
from components.parts.block._branches import Block, write_all


@register("block", "parallel")
class Parallel(Block):
    """Parallel block: all branches read the same normed copy of the stream, and their outputs are added together.

    Args:
        norm: one for all branches.
    """

    one_norm = True

    def forward(self, s: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(s, info)
        found = [b.residual.read(s) for b in self.branches]
        inputs: list[Tensor] = []
        for b, x in zip(self.branches, found, strict=True):
            # a residual whose read is the identity gives all branches one tensor, which is normed once
            inputs.append(inputs[0] if inputs and x is found[0] else b.norm(x))
        return write_all(self.branches, inputs, s, info)
