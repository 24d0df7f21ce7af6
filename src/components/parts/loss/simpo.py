"""Preferences without a reference: the mean log-probability of an answer's tokens is its reward, and a margin is asked for.

Meng et al. 2024, arXiv:2405.14734, equation 6
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from components.core.registry import register
from components.core.signature import NonNegativeFloat, PositiveFloat
from components.core.sockets import Batch, Terms
from components.parts.loss._pairs import OverAnswers, terms_of_pairs
from components.parts.loss._tokens import Head


@register("loss", "simpo")
class SimPO(OverAnswers):
    """SimPO: -log sigmoid(beta * (mean log-probability of the chosen answer's tokens - that of the rejected one's) - margin), a mean over pairs.

    Args:
        beta: factor of the mean log-probability.
        margin: the paper's gamma: how much higher the chosen answer's reward is to be.
    """

    beta: PositiveFloat = 2.0
    margin: NonNegativeFloat = 1.0

    def __call__(self, hidden: Tensor, head: Head, batch: Batch) -> Terms:
        answers = self.answers(hidden, head, batch)
        rewards = self.beta * answers.means()
        return terms_of_pairs(-F.logsigmoid(rewards[:, 0] - rewards[:, 1] - self.margin), rewards, answers.weights)
