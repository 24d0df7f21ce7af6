"""GRPO done right: what makes long wrong answers cheap, and easy prompts loud, is left out of GRPO.

Liu et al. 2025, arXiv:2503.20783, section 3.2
"""

from __future__ import annotations

from torch import Tensor

from components.core.registry import register
from components.core.signature import Positive
from components.core.sockets import Batch
from components.parts.loss._groups import OverGroups


@register("loss", "dr_grpo")
class DrGRPO(OverGroups):
    """Dr. GRPO: the clipped objective with reward - mean of its group as the advantage; a sum over an answer's tokens, divided by one constant.

    Args:
        beta: how strongly the policy is held to the reference; with 0, as in the paper, there is none, and no copy in memory.
        budget: the constant: as a rule the most tokens that an answer may have, ``task.sample_tokens``.
    """

    beta = 0.0
    budget: Positive = 120

    def advantages(self, rewards: Tensor) -> Tensor:
        return rewards[:, 0] - rewards.mean(1)

    def over_tokens(self, values: Tensor, asked: Tensor, batch: Batch) -> Tensor:
        del asked, batch
        return values.sum(1) / self.budget
