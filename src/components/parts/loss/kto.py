"""Each answer judged by itself, as better or worse than a baseline that people are taken to have: losses weigh on them otherwise than gains.

Ethayarajh et al. 2024, arXiv:2402.01306, equations 7 and 8
"""

from __future__ import annotations

import torch
from torch import Tensor

from components.core.registry import register
from components.core.signature import NonNegativeFloat, PositiveFloat
from components.core.sockets import Batch, Terms
from components.parts.loss._pairs import OverAnswers, over, ratios_of, terms_of_pairs
from components.parts.loss._tokens import Head


@register("loss", "kto")
class KTO(OverAnswers):
    """KTO: desirable * (1 - sigmoid(beta * (r - z0))) of a chosen answer, undesirable * (1 - sigmoid(beta * (z0 - r))) of a rejected one, a mean over answers.

    A row may have both answers, or one that was judged by itself; each row weighs the same.

    r is log(policy / reference) of an answer. z0, ``batch.baseline``, is its mean over answers to other prompts, and at least 0. No gradient goes through z0.

    Args:
        beta: how strongly the policy is held to the reference.
        desirable: weight of chosen answers.
        undesirable: weight of rejected answers.
    """

    compares = True
    mismatches = True
    judges_one = True

    beta: PositiveFloat = 0.1
    desirable: NonNegativeFloat = 1.0
    undesirable: NonNegativeFloat = 1.0

    def __call__(self, hidden: Tensor, head: Head, batch: Batch) -> Terms:
        answers = self.answers(hidden, head, batch)
        ratios = ratios_of(answers, batch, "kto")
        if batch.baseline is None:
            raise ValueError("kto judges answers against a baseline: batch.baseline holds it (B,)")
        z0, there = batch.baseline.to(ratios.dtype).detach(), answers.there()
        good = self.desirable * torch.sigmoid(self.beta * (z0 - ratios[:, 0]))  # 1 - sigmoid(x) is sigmoid(-x)
        bad = self.undesirable * torch.sigmoid(self.beta * (ratios[:, 1] - z0))
        loss = over(torch.stack((good, bad), 1), there)
        return terms_of_pairs(loss, self.beta * ratios, answers.weights, ratios=ratios, baseline=z0, there=there)
