"""Reinforcement learning without a critic: an answer is worth what it is better than the other answers to its prompt.

Shao et al. 2024 (DeepSeekMath), arXiv:2402.03300, equations 3 and 4, section 4.1
"""

from __future__ import annotations

from torch import Tensor

from components.core.registry import register
from components.parts.loss._groups import OverGroups, standardised


@register("loss", "grpo")
class GRPO(OverGroups):
    """GRPO: the clipped objective with (reward - mean) / deviation of its group as the advantage; a mean over an answer's tokens, then over answers."""

    def advantages(self, rewards: Tensor) -> Tensor:
        return standardised(rewards)
