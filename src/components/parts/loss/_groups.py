"""What losses over groups have in common: of several answers to one prompt, those become likelier that are better than the others.

A row is one answer after its prompt, and it brings the rewards of its whole group along, its own first. So rows may be cut anywhere.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from components.core.options import Options
from components.core.signature import NonNegativeFloat, Positive, PositiveFloat
from components.core.sockets import Batch, Terms
from components.functional.cross_entropy import IGNORED
from components.parts.loss._answers import target_log_probs, terms_of_rows, weights_of
from components.parts.loss._tokens import Head, need_targets


class OverGroups(Options):
    """The clipped objective of PPO over the tokens of an answer, all with one advantage, and the KL divergence from a reference.

    A loss says how rewards become advantages (``advantages``), and how the tokens of an answer are added up (``over_tokens``).

    Args:
        vocab_size: number of logits.
        beta: how strongly the policy is held to the reference; with 0 there is none, and no copy in memory.
        clip: how far the ratio of a token's probability to that with which it was drawn may go from 1 before it teaches nothing more.
        chunk: rows whose logits are held at once, as ``next_token`` has it.
    """

    refuses = {"model": ("causal",), "attention": ("causal",), "head": ("causal",)}
    provides = ("groups",)
    likelihood = False

    beta: NonNegativeFloat = 0.04
    clip: PositiveFloat = 0.2
    chunk: Positive | Literal["auto", "all"] = "auto"

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size, self.compares = vocab_size, self.beta > 0

    def advantages(self, rewards: Tensor) -> Tensor:
        """(B,) of the answers whose groups have the rewards (B, G), their own first."""
        raise NotImplementedError(f"{type(self).__name__} says in advantages() what a reward among others is worth")

    def over_tokens(self, values: Tensor, asked: Tensor) -> Tensor:
        """(B,) of the values (B, T) of an answer's tokens, 0 elsewhere; ``asked``: where they are."""
        return mean_of(values, asked)

    def __call__(self, hidden: Tensor, head: Head, batch: Batch) -> Terms:
        """The loss, and of the same rows ``reward``, ``length`` (tokens of an answer), ``clipped`` (the share of tokens that teach nothing more) and
        ``kl``, each a mean over answers.

        ``kl`` is Schulman's third estimator, exp(x) - x - 1 of x = log(reference / policy), at least 0 (joschu.net/blog/kl-approx.html).

        Raises:
            ValueError: the batch has no targets, no rewards, or no reference although ``beta`` is above 0.
        """
        targets = need_targets(batch, "a loss over groups", "the tokens of the answers")
        asked = targets != IGNORED
        said = target_log_probs(hidden, head, targets, vocab_size=self.vocab_size, chunk=self.chunk)
        rewards = rewards_of(batch)
        gain = self.advantages(rewards).to(said.dtype)[:, None]
        ratio = (said - (said.detach() if batch.drawn is None else batch.drawn.to(said.dtype))).exp()
        free, held = ratio * gain, ratio.clamp(1 - self.clip, 1 + self.clip) * gain
        each = -torch.minimum(free, held)
        figures = {
            "reward": rewards[:, 0].to(said.dtype),
            "length": asked.sum(1).to(said.dtype),
            "clipped": mean_of((held < free).to(said.dtype), asked),
        }
        if self.compares:
            behind = reference_of(batch).to(said.dtype) - said
            kl = behind.exp() - behind - 1
            each = each + self.beta * kl
            figures["kl"] = mean_of(kl.detach(), asked)
        return terms_of_rows(self.over_tokens(each * asked, asked), figures, weights_of(batch).to(said.dtype))


def mean_of(values: Tensor, asked: Tensor) -> Tensor:
    """(B,) the mean of values (B, T) where ``asked``; 0 for a row without any."""
    return (values * asked).sum(1) / asked.sum(1).clamp(min=1)


def rewards_of(batch: Batch) -> Tensor:
    if batch.rewards is None or batch.rewards.shape[1] < 2:
        raise ValueError(
            "a loss over groups needs batch.rewards (B, G): of the row's answer and of the others to its prompt, at least one"
        )
    return batch.rewards


def reference_of(batch: Batch) -> Tensor:
    if batch.reference is None:
        raise ValueError("with beta above 0 it compares with a reference: batch.reference holds its log-probabilities (B, T)")
    return batch.reference
