"""Macaron block: half an ffn, attention, half an ffn, each reading a normed copy of the stream.

Lu et al. 2019, arXiv:1906.02762, section 3.2 (pre-norm as in Gulati et al. 2020, Conformer, arXiv:2005.08100)
"""

from __future__ import annotations

from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import NonNegativeFloat
from components.core.sockets import Maker, Place, SequenceInfo
from components.parts.block._branches import add_branches


@register("block", "macaron")
class Macaron(nn.Module):
    """Macaron block: half an ffn, attention, half an ffn, each reading a normed copy of the stream.

    Args:
        first_ffn: the first branch; by default another one like ``ffn``.
        attention: the branch in the middle.
        cross: the branch that reads an encoder's memory, where there is one.
        ffn: the last branch.
        norm: before each branch that has none of its own.
        first_ffn_norm: before the first ffn; by default ``norm``.
        attention_norm: before the attention; by default ``norm``.
        cross_norm: before the cross attention; by default ``norm``.
        ffn_norm: before the ffn; by default ``norm``.
        residual: how each branch is written into the stream.
        scale: factor on the output of each ffn.

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
        first_ffn: Maker["ffn"] = "inherit",
        attention: Maker["attention"] = "inherit",
        cross: Maker["attention"] = "inherit",
        ffn: Maker["ffn"] = "inherit",
        norm: Maker["norm"] = "inherit",
        first_ffn_norm: Maker["norm"] = "inherit",
        attention_norm: Maker["norm"] = "inherit",
        cross_norm: Maker["norm"] = "inherit",
        ffn_norm: Maker["norm"] = "inherit",
        residual: Maker["residual"] = "inherit",
        scale: NonNegativeFloat = 0.5,
    ) -> None:
        super().__init__()
        sizes = {"d_model": d_model, "context_length": context_length, "place": place, "d_memory": d_memory}
        makers = {
            "first_ffn": first_ffn,
            "attention": attention,
            "cross": cross,
            "ffn": ffn,
            "residual": residual,
            "norm": norm,
        }
        makers |= {
            "first_ffn_norm": first_ffn_norm,
            "attention_norm": attention_norm,
            "cross_norm": cross_norm,
            "ffn_norm": ffn_norm,
        }
        self.branches = add_branches(self, sizes, makers, ("first_ffn", "attention", "cross", "ffn"))
        self.scale = scale

    def forward(self, s: Tensor, info: SequenceInfo) -> Tensor:
        modules = self._modules
        for name in self.branches:
            residual = modules[f"{name}_residual"]
            y = modules[name](modules[f"{name}_norm"](residual.read(s)), info)
            s = residual.write(s, self.scale * y if name.endswith("ffn") else y)
        return s
