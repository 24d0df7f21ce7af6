"""A long answer counts by its tokens, and an unlikely token may become likelier by more than a likely one may lose.

Yu et al. 2025 (DAPO), arXiv:2503.14476, equation 8, sections 3.1 and 3.3
"""

from __future__ import annotations

from torch import Tensor

from components.core.registry import register
from components.core.sockets import Batch
from components.parts.loss._groups import ClippedApart, lengths_of, standardised


@register("loss", "dapo")
class DAPO(ClippedApart):
    """DAPO: GRPO with a looser clip above than below, and a mean over all tokens of a group in the place of a mean over each answer's.

    Prompts whose answers are all worth the same teach nothing; ``task.redraws`` puts others in their place (the paper's dynamic sampling). A penalty for
    long answers is a reward.

    Args:
        beta: how strongly the policy is held to the reference; with 0, as in the paper, there is none, and no copy in memory.
        clip: how far below 1 the ratio of a token's probability to that with which it was drawn may go before it teaches nothing more.
        clip_high: how far above 1.
    """

    clip_high = 0.28

    def advantages(self, rewards: Tensor) -> Tensor:
        return standardised(rewards)

    def over_tokens(self, values: Tensor, asked: Tensor, batch: Batch) -> Tensor:
        del asked
        lengths = lengths_of(batch)
        return values.sum(1) * lengths.shape[1] / lengths.sum(1).clamp(min=1)
