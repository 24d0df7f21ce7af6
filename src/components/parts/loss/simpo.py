"""Preferences without a reference: the mean log-probability of an answer's tokens is its reward, and a margin is asked for.

Meng et al. 2024, arXiv:2405.14734, equation 6
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from components.core.registry import register
from components.core.signature import NonNegativeFloat, Positive, PositiveFloat
from components.core.sockets import Batch, Terms
from components.parts.loss._pairs import answers_of, terms_of_pairs
from components.parts.loss._tokens import Chunk, Head


@register("loss", "simpo")
class SimPO:
    """SimPO: -log sigmoid(beta * (mean log-probability of the chosen answer's tokens - that of the rejected one's) - margin), a mean over pairs.

    Args:
        vocab_size: number of logits.
        beta: factor of the mean log-probability.
        margin: the paper's gamma: how much higher the chosen answer's reward is to be.
        chunk: rows whose logits are held at once, as ``next_token`` has it.
    """

    refuses = {"model": ("causal",), "attention": ("causal",), "head": ("causal",)}
    provides = ("pairs",)
    likelihood = False

    def __init__(
        self,
        vocab_size: int,
        *,
        beta: PositiveFloat = 2.0,
        margin: NonNegativeFloat = 1.0,
        chunk: Positive | Literal["auto", "all"] = "auto",
    ) -> None:
        self.vocab_size, self.beta, self.margin = vocab_size, beta, margin
        self.chunk: Chunk = chunk

    def __call__(self, hidden: Tensor, head: Head, batch: Batch) -> Terms:
        answers = answers_of(hidden, head, batch, vocab_size=self.vocab_size, chunk=self.chunk)
        rewards = self.beta * answers.means()
        return terms_of_pairs(-F.logsigmoid(rewards[:, 0] - rewards[:, 1] - self.margin), rewards, answers.weights)
