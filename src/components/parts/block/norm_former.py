"""NormFormer block: pre-norm, and what attention read is normed again before it is written.

Shleifer et al. 2021, arXiv:2110.09456, section 2
"""

from __future__ import annotations

from torch import Tensor, nn

from components.core.registry import register
from components.core.sockets import Maker, Place, SequenceInfo
from components.parts.block._branches import add_branches


@register("block", "norm_former")
class NormFormer(nn.Module):
    """NormFormer block: pre-norm, and what attention read is normed again before it is written.

    Args:
        attention: the first branch.
        cross: the branch that reads an encoder's memory, where there is one.
        ffn: the last branch.
        norm: before each branch, and after attention.
        attention_norm: before the attention; by default ``norm``.
        cross_norm: before the cross attention; by default ``norm``.
        ffn_norm: before the ffn; by default ``norm``.
        output_norm: after each attention; by default ``norm``.
        residual: how each branch is written into the stream.

    Shapes: the stream s as ``residual.open`` made it, (B, T, D) for most -> the same.

    The paper's two other changes stand inside the branches: a scale for each head (a ``gate`` of attention) and a norm of the ffn's inner
    activations (the ffn's).
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
        output_norm: Maker["norm"] = "inherit",
        residual: Maker["residual"] = "inherit",
    ) -> None:
        super().__init__()
        sizes = {"d_model": d_model, "context_length": context_length, "place": place, "d_memory": d_memory}
        makers = {"attention": attention, "cross": cross, "ffn": ffn, "residual": residual, "norm": norm}
        makers |= {
            "attention_norm": attention_norm,
            "cross_norm": cross_norm,
            "ffn_norm": ffn_norm,
            "attention_output_norm": output_norm,
            "cross_output_norm": output_norm,
        }
        self.branches = add_branches(self, sizes, makers)

    def forward(self, s: Tensor, info: SequenceInfo) -> Tensor:
        modules = self._modules
        for name in self.branches:
            residual = modules[f"{name}_residual"]
            y = modules[name](modules[f"{name}_norm"](residual.read(s)), info)
            if name != "ffn":
                y = modules[f"{name}_output_norm"](y)
            s = residual.write(s, y)
        return s
