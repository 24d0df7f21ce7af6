"""The logarithm of the distance lets the network give a bias for any distance.

Liu et al. 2021 (Swin Transformer V2), arXiv:2111.09883, eqs. 3 and 4, in one dimension
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from components.core.flops import Flops, Work, both
from components.core.registry import register
from components.core.signature import Positive, PositiveFloat
from components.core.sockets import SequenceInfo, infos_of
from components.functional.activations import ACTIVATIONS
from components.functional.linear import Linear
from components.parts.position._distances import by_distance, spanned


@register("position", "dynamic_bias")
class DynamicBias(nn.Module):
    """Continuous relative bias: a small network turns sign(d) ln(1 + |d|) of a distance d into a bias per head.

    Args:
        width: hidden width of the network.
        activation: between its two maps.
        bound: biases are bound * sigmoid(what the network gives) (16 in the authors' code); null: what it gives.

    The second map has no bias: a constant over all keys changes no softmax.
    """

    needs = {"attention": ("biases",)}
    axes = {"hidden": ("one", "d_ff"), "heads": ("d_ff", "heads")}

    def __init__(
        self,
        n_heads: int,
        *,
        width: Positive = 64,
        activation: Literal["relu", "gelu", "silu"] = "relu",
        bound: PositiveFloat | None = None,
    ) -> None:
        super().__init__()
        self.bound = bound
        self.activation = ACTIVATIONS[activation]
        self.splits = {"heads": n_heads}
        self.hidden, self.heads = Linear(1, width), Linear(width, n_heads, bias=False)

    def bias(self, q: Tensor, k: Tensor, q_info: SequenceInfo | None = None, k_info: SequenceInfo | None = None) -> Tensor:
        q_info, k_info = infos_of(q, k, q_info, k_info)
        return by_distance(self.values, q_info, k_info)

    def values(self, distance: Tensor) -> Tensor:
        """(...) -> (..., H)."""
        weight = self.hidden.weight
        with torch.autocast(distance.device.type, enabled=False):
            place = distance.sign() * torch.log1p(distance.abs().to(torch.promote_types(weight.dtype, torch.float32)))
            values = self.heads(self.activation(self.hidden(place[..., None].to(weight.dtype))))
            return values if self.bound is None else self.bound * torch.sigmoid(values)

    def flops(self, work: Work) -> Flops:
        """Of every distance, once for all rows."""
        return both(2 * (self.hidden.out_features + self.heads.in_features * self.heads.out_features) * spanned(work))
