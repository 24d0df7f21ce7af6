"""Parallel block: all branches read the same normed copy of the stream, and their outputs are added together.

Wang & Komatsuzaki 2021 (GPT-J); Chowdhery et al. 2022 (PaLM), arXiv:2204.02311, section 2
"""

from __future__ import annotations

from torch import Tensor, nn

from components.core.registry import register
from components.core.sockets import Maker, Place, SequenceInfo, make
from components.parts.block._branches import add_branches, reads, write_all


@register("block", "parallel")
class Parallel(nn.Module):
    """Parallel block: all branches read the same normed copy of the stream, and their outputs are added together.

    Args:
        attention: one branch.
        cross: the branch that reads an encoder's memory, where there is one.
        ffn: another branch.
        norm: one for all branches.
        residual: how each branch is written into the stream.

    Shapes: the stream s as ``residual.open`` made it, (B, T, D) for most -> the same.
    """

    def __init__(
        self,
        d_model: int,
        context_length: int,
        place: Place,
        d_memory: int | None = None,
        *,
        attention: Maker["attention"] = "inherit",
        cross: Maker["attention"] = "inherit",
        ffn: Maker["ffn"] = "inherit",
        norm: Maker["norm"] = "inherit",
        residual: Maker["residual"] = "inherit",
    ) -> None:
        super().__init__()
        sizes = {"d_model": d_model, "context_length": context_length, "place": place, "d_memory": d_memory}
        self.norm = make(norm, "norm", dim=d_model)
        makers = {"attention": attention, "cross": cross, "ffn": ffn, "residual": residual}
        self.branches = add_branches(self, sizes, makers)
        if not self.branches:
            del self.norm  # nothing would read it

    def forward(self, s: Tensor, info: SequenceInfo) -> Tensor:
        inputs: list[Tensor] = []
        for x in (found := reads(self, self.branches, s)):
            # a residual whose read is the identity gives all branches one tensor, which is normed once
            inputs.append(inputs[0] if inputs and x is found[0] else self.norm(x))
        return write_all(self, self.branches, inputs, s, info)
