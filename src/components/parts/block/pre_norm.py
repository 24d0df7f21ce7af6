"""Pre-norm block: each branch reads a normed copy of the stream, and the stream itself is never normed.

Xiong et al. 2020, arXiv:2002.04745
"""

from __future__ import annotations

from torch import Tensor, nn

from components.core.registry import register
from components.core.sockets import Maker, Place, SequenceInfo
from components.parts.block._branches import add_branches


@register("block", "pre_norm")
class PreNorm(nn.Module):
    """Pre-norm block: each branch reads a normed copy of the stream, and the stream itself is never normed.

    Args:
        attention: the first branch.
        cross: the branch that reads an encoder's memory, where there is one.
        ffn: the last branch.
        norm: before each branch that has none of its own.
        attention_norm: before the attention; by default ``norm``.
        cross_norm: before the cross attention; by default ``norm``.
        ffn_norm: before the ffn; by default ``norm``.
        residual: how each branch is written into the stream.

    Shapes: the stream s as ``residual.open`` made it, (B, T, D) for most -> the same.
    """

    provides = ("sequential",)

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
        modules = self._modules  # as getattr, at a third of its cost: every layer and token of a decoding passes here
        for name in self.branches:
            residual = modules[f"{name}_residual"]
            normed = modules[f"{name}_norm"](residual.read(s))
            s = residual.write(s, modules[name](normed, info))
        return s
