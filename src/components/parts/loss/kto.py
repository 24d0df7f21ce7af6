"""Each answer judged by itself, as better or worse than a baseline that people are taken to have: losses weigh on them otherwise than gains.

Ethayarajh et al. 2024, arXiv:2402.01306, equations 7 and 8
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from components.core.registry import register
from components.core.signature import NonNegativeFloat, Positive, PositiveFloat
from components.core.sockets import Batch, Terms
from components.parts.loss._pairs import answers_of, ratios_of, terms_of_pairs
from components.parts.loss._tokens import Chunk, Head


@register("loss", "kto")
class KTO:
    """KTO: desirable * (1 - sigmoid(beta * (r - z0))) of a chosen answer, undesirable * (1 - sigmoid(beta * (z0 - r))) of a rejected one, a mean over answers.

    r is log(policy / reference) of an answer. z0, ``batch.baseline``, is its mean over answers to other prompts, and at least 0. No gradient goes through z0.

    Args:
        vocab_size: number of logits.
        beta: how strongly the policy is held to the reference.
        desirable: weight of chosen answers.
        undesirable: weight of rejected answers.
        chunk: rows whose logits are held at once, as ``next_token`` has it.
    """

    refuses = {"model": ("causal",), "attention": ("causal",), "head": ("causal",)}
    provides = ("pairs",)
    likelihood = False
    compares = True
    mismatches = True

    def __init__(
        self,
        vocab_size: int,
        *,
        beta: PositiveFloat = 0.1,
        desirable: NonNegativeFloat = 1.0,
        undesirable: NonNegativeFloat = 1.0,
        chunk: Positive | Literal["auto", "all"] = "auto",
    ) -> None:
        self.vocab_size, self.beta, self.desirable, self.undesirable = vocab_size, beta, desirable, undesirable
        self.chunk: Chunk = chunk

    def __call__(self, hidden: Tensor, head: Head, batch: Batch) -> Terms:
        answers = answers_of(hidden, head, batch, vocab_size=self.vocab_size, chunk=self.chunk)
        ratios = ratios_of(answers, batch, "kto")
        if batch.baseline is None:
            raise ValueError("kto judges answers against a baseline: batch.baseline holds it (B,)")
        z0 = batch.baseline.to(ratios.dtype).detach()
        good = self.desirable * torch.sigmoid(self.beta * (z0 - ratios[:, 0]))  # 1 - sigmoid(x) is sigmoid(-x)
        bad = self.undesirable * torch.sigmoid(self.beta * (ratios[:, 1] - z0))
        return terms_of_pairs((good + bad) / 2, self.beta * ratios, answers.weights, ratios=ratios, baseline=z0)
