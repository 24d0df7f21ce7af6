"""Buckets grow with the distance.

Raffel et al. 2019 (T5), arXiv:1910.10683, section 2.1; buckets as in Mesh TensorFlow's and transformers' code; a table for each layer: Chung
et al. 2023 (UMT5), arXiv:2304.09151
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import Positive
from components.core.sockets import SequenceInfo, infos_of
from components.parts.position._distances import distances


@register("position", "t5_bias")
class T5Bias(nn.Module):
    """T5's relative bias: a learned number per head for each bucket of distances, from one table for all layers of a stack or one for each.

    Args:
        buckets: rows of the table; half of them are for later positions where the model is not causal (a prefix's later ones count as 0).
        max_distance: distances from here on share the last bucket.
        share: stack: one table for all layers of a stack, as T5 has; layer: each layer its own, as UMT5.

    Errors: ValueError if buckets are too few to halve twice, or max_distance is within the buckets of a single distance.
    """

    needs = {"attention": ("biases",)}
    axes = {"table": ("one", "heads")}

    def __init__(
        self,
        n_heads: int,
        *,
        buckets: Positive = 32,
        max_distance: Positive = 128,
        share: Literal["stack", "layer"] = "stack",  # read by the stack, before it builds the part
    ) -> None:
        super().__init__()
        if buckets < 4 or max_distance <= buckets // 2:
            raise ValueError(f"buckets={buckets} must be at least 4 and max_distance={max_distance} beyond half of them")
        self.buckets, self.max_distance, self.share = buckets, max_distance, share
        self.splits = {"heads": n_heads}
        self.table = nn.Embedding(buckets, n_heads)

    def bucket(self, distance: Tensor, backwards: bool) -> Tensor:
        """Of distances, positive towards the past; ``backwards``: later keys are never seen and share the bucket of distance 0."""
        buckets, offset = self.buckets, torch.zeros_like(distance)
        if backwards:
            distance = distance.clamp(min=0)
        else:
            buckets //= 2
            offset, distance = (distance < 0).long() * buckets, distance.abs()
        exact = buckets // 2
        ratio = torch.log(distance.clamp(min=1).float() / exact) / math.log(self.max_distance / exact)
        far = (exact + (ratio * (buckets - exact)).long()).clamp(max=buckets - 1)
        return offset + torch.where(distance < exact, distance, far)

    def bias(self, q: Tensor, k: Tensor, q_info: SequenceInfo | None = None, k_info: SequenceInfo | None = None) -> Tensor:
        q_info, k_info = infos_of(q, k, q_info, k_info)

        def compute() -> Tensor:
            return self.bucket(distances(q_info, k_info), q_info.causal)

        own = q_info is k_info
        buckets = q_info.once(("t5_bias", self.buckets, self.max_distance, q_info.causal), compute) if own else compute()
        return self.table(buckets).permute(0, 3, 1, 2)
