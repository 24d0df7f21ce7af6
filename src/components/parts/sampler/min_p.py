"""Only tokens stay that have at least a share of the likeliest one's probability.

Nguyen et al. 2024, arXiv:2407.01082
"""

from __future__ import annotations

import math

from torch import Tensor

from components.core.registry import register
from components.core.signature import Probability


@register("sampler", "min_p")
class MinP:
    """Min-p: tokens with a probability below ``p`` times the largest become -inf.

    Args:
        p: share of the largest probability; 0 keeps all.
    """

    def __init__(self, *, p: Probability = 0.05) -> None:
        self.p = p

    def __call__(self, logits: Tensor, ids: Tensor, valid: Tensor | None) -> Tensor:  # noqa: ARG002
        if self.p == 0.0:
            return logits
        # p(token) / p(likeliest) = exp(their difference): no softmax is needed
        return logits.masked_fill(logits < logits.amax(-1, keepdim=True) + math.log(self.p), float("-inf"))
