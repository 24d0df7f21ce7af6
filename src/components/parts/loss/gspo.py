"""An answer is rewarded as a whole, so it is clipped as a whole: its ratio is the geometric mean of those of its tokens.

Zheng et al. 2025 (GSPO), arXiv:2507.18071, equations 5 to 7, section 5.1
"""

from __future__ import annotations

from torch import Tensor

from components.core.registry import register
from components.parts.loss._groups import ClippedApart, mean_of, standardised


@register("loss", "gspo")
class GSPO(ClippedApart):
    """GSPO: GRPO with one ratio for an answer, the root of as many tokens as it has of the ratio of its probabilities.

    Steadier where a router may choose other experts than when the answer was drawn.

    Args:
        beta: how strongly the policy is held to the reference; with 0, as in the paper, there is none, and no copy in memory.
        clip: how far below 1 that ratio may go before the answer teaches nothing more.
        clip_high: how far above 1.
    """

    clip = 3e-4
    clip_high = 4e-4

    def advantages(self, rewards: Tensor) -> Tensor:
        return standardised(rewards)

    def ratio(self, moved: Tensor, asked: Tensor) -> Tensor:
        return mean_of(moved, asked)[:, None].exp().expand_as(moved)
