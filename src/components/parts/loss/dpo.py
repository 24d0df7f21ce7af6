"""Preferences without a reward model: the policy's own log-probabilities, beside those of a reference, are the reward.

Rafailov et al. 2023, arXiv:2305.18290, equation 7
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from components.core.registry import register
from components.core.signature import PositiveFloat
from components.core.sockets import Batch, Terms
from components.parts.loss._pairs import OverAnswers, ratios_of, terms_of_pairs
from components.parts.loss._tokens import Head


@register("loss", "dpo")
class DPO(OverAnswers):
    """DPO: -log sigmoid(beta * (log(policy / reference) of the chosen answer - that of the rejected one)), a mean over pairs.

    Args:
        beta: how strongly the policy is held to the reference.
    """

    compares = True

    beta: PositiveFloat = 0.1

    def __call__(self, hidden: Tensor, head: Head, batch: Batch) -> Terms:
        answers = self.answers(hidden, head, batch)
        ratios = ratios_of(answers, batch, "dpo")
        rewards = self.beta * ratios
        return terms_of_pairs(-F.logsigmoid(rewards[:, 0] - rewards[:, 1]), rewards, answers.weights, ratios=ratios)
