"""Preferences and the chosen answers at once, without a reference: their likelihood, and the odds of the chosen answer against the rejected one.

Hong et al. 2024, arXiv:2403.07691, equations 4, 6 and 7
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from components.core.registry import register
from components.core.signature import PositiveFloat
from components.core.sockets import Batch, Terms
from components.parts.loss._pairs import OverAnswers, terms_of_pairs
from components.parts.loss._tokens import Head


@register("loss", "orpo")
class ORPO(OverAnswers):
    """ORPO: the chosen answer's cross entropy - weight * log sigmoid(log odds of the chosen answer - those of the rejected one), a mean over pairs.

    odds = p / (1 - p), with log p the mean log-probability of an answer's tokens (equation 2). The cross entropy is a mean over an answer's tokens.

    Args:
        weight: the paper's lambda: share of the odds in the total.
    """

    weight: PositiveFloat = 0.1

    def __call__(self, hidden: Tensor, head: Head, batch: Batch) -> Terms:
        answers = self.answers(hidden, head, batch)
        means = answers.means()
        below = means.clamp(max=-1e-7)  # log(1 - p) of p = 1 is no number
        odds = below - torch.log(-torch.expm1(below))
        loss = -means[:, 0] - self.weight * F.logsigmoid(odds[:, 0] - odds[:, 1])
        return terms_of_pairs(loss, self.weight * means, answers.weights)
