"""Parallel block with a norm for each branch: all read the same stream, each through a norm of its own, and their outputs are added.

Black et al. 2022 (GPT-NeoX-20B), arXiv:2204.06745, section 2.1; Almazrouei et al. 2023 (Falcon-40B), arXiv:2311.16867
"""

from __future__ import annotations

from torch import Tensor, nn

from components.core.registry import register
from components.core.sockets import Maker, Place, SequenceInfo
from components.parts.block._branches import add_branches, reads, write_all


@register("block", "parallel_two_norms")
class ParallelTwoNorms(nn.Module):
    """Parallel block with a norm for each branch: all read the same stream, each through a norm of its own, and their outputs are added.

    Args:
        attention: one branch.
        cross: the branch that reads an encoder's memory, where there is one.
        ffn: another branch.
        norm: before each branch, its own.
        attention_norm: before the attention; by default ``norm``.
        cross_norm: before the cross attention; by default ``norm``.
        ffn_norm: before the ffn; by default ``norm``.
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
        attention_norm: Maker["norm"] = "inherit",
        cross_norm: Maker["norm"] = "inherit",
        ffn_norm: Maker["norm"] = "inherit",
        residual: Maker["residual"] = "inherit",
    ) -> None:
        super().__init__()
        sizes = {"d_model": d_model, "context_length": context_length, "place": place, "d_memory": d_memory}
        makers = {"attention": attention, "cross": cross, "ffn": ffn, "residual": residual, "norm": norm}
        makers |= {"attention_norm": attention_norm, "cross_norm": cross_norm, "ffn_norm": ffn_norm}
        self.branches = add_branches(self, sizes, makers)

    def forward(self, s: Tensor, info: SequenceInfo) -> Tensor:
        inputs = [
            getattr(self, f"{name}_norm")(x) for name, x in zip(self.branches, reads(self, self.branches, s), strict=True)
        ]
        return write_all(self, self.branches, inputs, s, info)
