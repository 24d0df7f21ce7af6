"""Tokens that have occurred become less likely.

Keskar et al. 2019, arXiv:1909.05858
"""

from __future__ import annotations

from torch import Tensor

from components.core.registry import register
from components.core.signature import NonNegative, PositiveFloat


@register("sampler", "repetition")
class Repetition:
    """Repetition: logits of tokens that occurred are divided by ``penalty`` where positive, multiplied by it where negative.

    Args:
        penalty: above 1 discourages, below 1 encourages.
        last: how many of the last tokens count; 0: all, the prompt included.
    """

    def __init__(self, *, penalty: PositiveFloat = 1.1, last: NonNegative = 0) -> None:
        self.penalty, self.last = penalty, last

    def __call__(self, logits: Tensor, ids: Tensor, valid: Tensor | None) -> Tensor:
        if valid is not None:  # padding becomes the newest token, which has occurred anyway
            ids = ids.where(valid, ids[:, -1:])
        ids = ids[:, -self.last :]  # [-0:] is all
        found = logits.gather(-1, ids)
        return logits.scatter(-1, ids, (found / self.penalty).where(found > 0, found * self.penalty))
