"""Only the likeliest tokens stay that together reach a probability.

Holtzman et al. 2020, arXiv:1904.09751
"""

from __future__ import annotations

from torch import Tensor

from components.core.registry import register
from components.core.signature import Probability


@register("sampler", "top_p")
class TopP:
    """Top-p (nucleus): the smallest set of likeliest tokens whose probabilities sum to at least ``p`` stays.

    One token stays at least; the logits of the others become -inf.

    Args:
        p: probability to reach.
    """

    def __init__(self, *, p: Probability = 0.95) -> None:
        self.p = p

    def __call__(self, logits: Tensor, ids: Tensor, valid: Tensor | None) -> Tensor:  # noqa: ARG002
        if self.p == 1.0:
            return logits
        ordered, order = logits.sort(descending=True, stable=True)
        probability = ordered.float().softmax(-1)
        dropped = probability.cumsum(-1) - probability >= self.p  # what came before has reached p already
        dropped[:, 0] = False
        return logits.masked_fill(dropped.scatter(-1, order, dropped), float("-inf"))
