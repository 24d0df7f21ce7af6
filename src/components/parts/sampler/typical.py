"""Only tokens stay whose information is nearest to what the distribution leads one to expect.

Meister et al. 2022, arXiv:2202.00666, equation 10
"""

from __future__ import annotations

from torch import Tensor

from components.core.registry import register
from components.core.signature import Probability


@register("sampler", "typical")
class Typical:
    """Typical: the tokens whose -log p is nearest to the entropy stay, as few as have a probability of at least ``p`` together.

    One token stays at least; the logits of the others become -inf.

    Args:
        p: probability to reach; the paper finds 0.2 good for stories and 0.95 for summaries.
    """

    def __init__(self, *, p: Probability = 0.95) -> None:
        self.p = p

    def __call__(self, logits: Tensor, ids: Tensor, valid: Tensor | None) -> Tensor:  # noqa: ARG002
        if self.p == 1.0:
            return logits
        log_p = logits.float().log_softmax(-1)
        probability = log_p.exp()
        # what was dropped before has probability 0 and adds nothing to the entropy
        entropy = -(probability * log_p.masked_fill(probability == 0, 0.0)).sum(-1, keepdim=True)
        order = (log_p + entropy).abs().sort(stable=True).indices
        ordered = probability.gather(-1, order)
        dropped = ordered.cumsum(-1) - ordered >= self.p  # what came before has reached p already
        dropped[:, 0] = False
        return logits.masked_fill(dropped.scatter(-1, order, dropped), float("-inf"))
