"""Preferences without a reward model: the policy's own log-probabilities, beside those of a reference, are the reward.

Rafailov et al. 2023, arXiv:2305.18290, equation 7
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from components.core.registry import register
from components.core.signature import Positive, PositiveFloat
from components.core.sockets import Batch, Terms
from components.parts.loss._pairs import answers_of, ratios_of, terms_of_pairs
from components.parts.loss._tokens import Chunk, Head


@register("loss", "dpo")
class DPO:
    """DPO: -log sigmoid(beta * (log(policy / reference) of the chosen answer - that of the rejected one)), a mean over pairs.

    Args:
        vocab_size: number of logits.
        beta: how strongly the policy is held to the reference.
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
        ratios = ratios_of(answers, batch, "dpo")
        rewards = self.beta * ratios
        return terms_of_pairs(-F.logsigmoid(rewards[:, 0] - rewards[:, 1]), rewards, answers.weights, ratios=ratios)
