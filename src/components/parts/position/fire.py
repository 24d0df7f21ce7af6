"""A small network turns the relative place of a key within what the query has behind it into a bias per head.

Li et al. 2023, arXiv:2310.04418, eqs. 3-5
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from components.core.flops import Flops, Work
from components.core.registry import register
from components.core.signature import Positive, PositiveFloat
from components.core.sockets import SequenceInfo, infos_of
from components.functional.activations import ACTIVATIONS
from components.functional.linear import Linear
from components.functional.precision import at_least_fp32
from components.parts.position._distances import distances


@register("position", "fire")
class Fire(nn.Module):
    """FIRE: a small network turns ln(1 + c distance) / ln(1 + c max(position, threshold)) into a bias per head.

    Args:
        width: hidden width of the network.
        activation: between its two maps.
        c: start of the learned constant within the logarithms.
        threshold: start of the learned length below which all queries count as if they stood there.

    The second map has no bias: a constant over all keys changes no softmax.
    """

    needs = {"attention": ("biases",)}
    axes = {"hidden": ("one", "d_ff"), "heads": ("d_ff", "heads"), "c": ("one",), "threshold": ("one",)}

    def __init__(
        self,
        n_heads: int,
        *,
        width: Positive = 32,
        activation: Literal["relu", "gelu", "silu"] = "relu",
        c: PositiveFloat = 0.1,
        threshold: PositiveFloat = 512.0,
    ) -> None:
        super().__init__()
        self.start, self.unit = c, threshold
        self.activation = ACTIVATIONS[activation]
        self.splits = {"heads": n_heads}
        self.hidden, self.heads = Linear(1, width), Linear(width, n_heads, bias=False)
        self.c, self.threshold = nn.Parameter(torch.empty(1)), nn.Parameter(torch.empty(1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.constant_(self.c, self.start)
        nn.init.ones_(self.threshold)  # in units of its start, so that one learning rate fits both

    def bias(self, q: Tensor, k: Tensor, q_info: SequenceInfo | None = None, k_info: SequenceInfo | None = None) -> Tensor:
        q_info, k_info = infos_of(q, k, q_info, k_info)
        q_at = q_info.placed()
        c, threshold = at_least_fp32(self.c), at_least_fp32(self.threshold).abs() * self.unit
        with torch.autocast(c.device.type, enabled=False):
            distance = (c * distances(q_info, k_info).abs()).abs().log1p()
            whole = (c * torch.maximum(q_at.to(c.dtype), threshold)).abs().log1p() + 1e-6
            place = (distance / whole[:, :, None])[..., None]
            return self.heads(self.activation(self.hidden(place.to(self.hidden.weight.dtype)))).permute(0, 3, 1, 2)

    def flops(self, work: Work) -> Flops:
        """Of every pair of positions, once for all rows that have the same positions."""
        pair = 2 * (self.hidden.out_features + self.heads.in_features * self.heads.out_features)
        cells = work.length * (work.length + 1) // 2 if work.causal else work.length**2
        return Flops(pair * work.length**2, pair * cells)
