"""Preferences held to a bounded distance, so that pairs on which all agree do not pull the policy ever farther from its reference.

Azar et al. 2023, arXiv:2310.12036, equation 17. Its log-probabilities are means over an answer's tokens here, as in trl, which has asked the authors.
"""

from __future__ import annotations

from torch import Tensor

from components.core.registry import register
from components.core.signature import PositiveFloat
from components.core.sockets import Batch, Terms
from components.parts.loss._pairs import OverAnswers, ratios_of, terms_of_pairs
from components.parts.loss._tokens import Head


@register("loss", "ipo")
class IPO(OverAnswers):
    """IPO: (mean log(policy / reference) of the chosen answer's tokens - that of the rejected one's - 1 / (2 * beta)) squared, a mean over pairs.

    Args:
        beta: the paper's tau: how strongly the policy is held to the reference.
    """

    compares = True

    beta: PositiveFloat = 0.1

    def __call__(self, hidden: Tensor, head: Head, batch: Batch) -> Terms:
        answers = self.answers(hidden, head, batch)
        ratios = ratios_of(answers, batch, "ipo")
        each = ratios / answers.lengths.clamp(min=1)
        apart = each[:, 0] - each[:, 1]
        return terms_of_pairs((apart - 1 / (2 * self.beta)).square(), self.beta * each, answers.weights, ratios=ratios)
