"""A token that has occurred becomes less likely, however often it did.

OpenAI's API reference, ``presence_penalty``
"""

from __future__ import annotations

from torch import Tensor

from components.core.registry import register
from components.core.signature import NonNegative


@register("sampler", "presence")
class Presence:
    """Presence: ``penalty`` is subtracted once from the logit of each token that has occurred.

    Args:
        penalty: above 0 discourages, below 0 encourages.
        last: how many of the last tokens count; 0: all, the prompt included.
    """

    def __init__(self, *, penalty: float = 0.2, last: NonNegative = 0) -> None:
        self.penalty, self.last = penalty, last

    def __call__(self, logits: Tensor, ids: Tensor, valid: Tensor | None) -> Tensor:
        if valid is not None:  # padding becomes the newest token, which has occurred anyway
            ids = ids.where(valid, ids[:, -1:])
        ids = ids[:, -self.last :]  # [-0:] is all
        return logits.scatter(1, ids, logits.gather(1, ids) - self.penalty)
