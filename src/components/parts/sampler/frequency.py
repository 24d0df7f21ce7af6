"""A token becomes less likely each time that it occurs.

OpenAI's API reference, ``frequency_penalty``
"""

from __future__ import annotations

from torch import Tensor

from components.core.registry import register
from components.core.signature import NonNegative


@register("sampler", "frequency")
class Frequency:
    """Frequency: ``penalty`` times its number of occurrences is subtracted from each token's logit.

    Args:
        penalty: above 0 discourages, below 0 encourages.
        last: how many of the last tokens count; 0: all, the prompt included.
    """

    def __init__(self, *, penalty: float = 0.2, last: NonNegative = 0) -> None:
        self.penalty, self.last = penalty, last

    def __call__(self, logits: Tensor, ids: Tensor, valid: Tensor | None) -> Tensor:
        ids = ids[:, -self.last :]  # [-0:] is all
        less = logits.new_full((), -self.penalty).expand(ids.shape)
        return logits.scatter_add(1, ids, less if valid is None else less * valid[:, -self.last :])
