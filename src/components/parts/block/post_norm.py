"""Post-norm block: each branch is written into the stream, and then the stream is normed.

Vaswani et al. 2017, arXiv:1706.03762
"""

from __future__ import annotations

from torch import Tensor, nn

from components.core.registry import register
from components.core.sockets import Maker, Place, SequenceInfo
from components.parts.block._branches import add_branches


@register("block", "post_norm")
class PostNorm(nn.Module):
    """Post-norm block: each branch is written into the stream, and then the stream is normed.

    Args:
        attention: the first branch.
        cross: the branch that reads an encoder's memory, where there is one.
        ffn: the last branch.
        norm: of the stream after each branch that has none of its own.
        attention_norm: after the attention; by default ``norm``.
        cross_norm: after the cross attention; by default ``norm``.
        ffn_norm: after the ffn; by default ``norm``.
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
            s = residual.write(s, modules[name](residual.read(s), info))
            s = modules[f"{name}_norm"](s)
        return s
