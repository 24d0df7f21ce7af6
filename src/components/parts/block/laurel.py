"""A low-rank map of what attention reads is written beside what attention found.

Menghani et al. 2024, arXiv:2411.07501, section 2 (LAuReL-LR), as in Gemma 3n 2025: of the normed stream, normed itself, and all divided by sqrt(2)
"""

from __future__ import annotations

from torch import Tensor

from components.core.registry import register
from components.core.signature import Positive
from components.core.sockets import INHERIT, Maker, SequenceInfo, info_of, make
from components.functional.linear import Linear
from components.parts.block.sandwich import Sandwich


@register("block", "laurel")
class LaurelBlock(Sandwich):
    """LAuReL block: a sandwich block, whose stream after attention is (s + norm(attention(n)) + n + norm(B A n)) / sqrt(2), where n is the normed stream.

    ``residual/laurel`` is the paper's own, of the stream itself and of every branch.

    Args:
        rank: of the map; A takes D to it, B back to D.
        laurel_norm: of the map; by default ``norm``.

    Without an attention there is no map. B is named ``out``: an init that makes branches begin small or at zero does so here.
    """

    provides = ("sequential",)
    axes = {"down": ("d_model", "latent"), "out": ("latent", "d_model")}

    rank: Positive = 16
    laurel_norm: Maker["norm"] = "inherit"

    def join(self, d_model: int, norm: Maker["norm"]) -> None:
        if any(b.name == "attention" for b in self.branches):
            self.down, self.out = Linear(d_model, self.rank, bias=False), Linear(self.rank, d_model, bias=False)
            self.out_norm = make(norm if self.laurel_norm == INHERIT else self.laurel_norm, "norm", dim=d_model)

    def forward(self, s: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(s, info)
        for b in self.branches:
            x = b.norm(b.residual.read(s))
            y = b.output_norm(b.part(x, info))
            if b.name == "attention":
                s = b.residual.write(s, y + (x + self.out_norm(self.out(self.down(x))))) * 2**-0.5
            else:
                s = b.residual.write(s, y)
        return s
