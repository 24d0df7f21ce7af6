"""Only the k likeliest tokens stay.

Fan, Lewis & Dauphin 2018, arXiv:1805.04833
"""

from __future__ import annotations

from torch import Tensor

from components.core.registry import register
from components.core.signature import Positive


@register("sampler", "top_k")
class TopK:
    """Top-k: logits below the k-th largest become -inf; those equal to it stay.

    Args:
        k: how many stay; more than there are tokens: all.
    """

    def __init__(self, *, k: Positive = 50) -> None:
        self.k = k

    def __call__(self, logits: Tensor, ids: Tensor, valid: Tensor | None) -> Tensor:  # noqa: ARG002
        if self.k >= logits.shape[-1]:
            return logits
        least = logits.topk(self.k, sorted=True).values[:, -1:]
        return logits.masked_fill(logits < least, float("-inf"))
