"""Preferences held to a bounded distance, so that pairs on which all agree do not pull the policy ever farther from its reference.

Azar et al. 2023, arXiv:2310.12036, equation 17. Its log-probabilities are means over an answer's tokens here, as in trl, which has asked the authors.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from components.core.registry import register
from components.core.signature import Positive, PositiveFloat
from components.core.sockets import Batch, Terms
from components.parts.loss._pairs import answers_of, ratios_of, terms_of_pairs
from components.parts.loss._tokens import Chunk, Head


@register("loss", "ipo")
class IPO:
    """IPO: (mean log(policy / reference) of the chosen answer's tokens - that of the rejected one's - 1 / (2 * beta)) squared, a mean over pairs.

    Args:
        vocab_size: number of logits.
        beta: the paper's tau: how strongly the policy is held to the reference.
        chunk: rows whose logits are held at once, as ``next_token`` has it.
    """

    refuses = {"model": ("causal",), "attention": ("causal",), "head": ("causal",)}
    provides = ("pairs",)
    likelihood = False
    compares = True

    def __init__(
        self, vocab_size: int, *, beta: PositiveFloat = 0.1, chunk: Positive | Literal["auto", "all"] = "auto"
    ) -> None:
        self.vocab_size, self.beta = vocab_size, beta
        self.chunk: Chunk = chunk

    def __call__(self, hidden: Tensor, head: Head, batch: Batch) -> Terms:
        answers = answers_of(hidden, head, batch, vocab_size=self.vocab_size, chunk=self.chunk)
        ratios = ratios_of(answers, batch, "ipo")
        each = ratios / answers.lengths.clamp(min=1)
        apart = each[:, 0] - each[:, 1]
        return terms_of_pairs((apart - 1 / (2 * self.beta)).square(), self.beta * each, answers.weights, ratios=ratios)
