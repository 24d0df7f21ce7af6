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

EPS = 1e-4  # beside the deviation, as trl has it: a group whose rewards are equal teaches nothing


class OverGroups(Options):
    """The clipped objective of PPO over the tokens of an answer, all with one advantage, and the KL divergence from a reference.

    A loss says how rewards become advantages (``advantages``), what is clipped (``ratio``) and where (``highest``), and how the tokens of an answer are
    added up (``over_tokens``).

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

    def ratio(self, moved: Tensor, asked: Tensor) -> Tensor:
        """(B, T) what is clipped, of the difference (B, T) of each token's log-probability to that with which it was drawn; ``asked``: where they are."""
        del asked
        return moved.exp()

    def highest(self) -> float:
        """The ratio above which nothing more is taught."""
        return 1 + self.clip

    def over_tokens(self, values: Tensor, asked: Tensor, batch: Batch) -> Tensor:
        """(B,) of the values (B, T) of an answer's tokens, 0 elsewhere; ``asked``: where they are."""
        del batch
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
        ratio = self.ratio(said - (said.detach() if batch.drawn is None else batch.drawn.to(said.dtype)), asked)
        free, held = ratio * gain, ratio.clamp(1 - self.clip, self.highest()) * gain
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
        return terms_of_rows(self.over_tokens(each * asked, asked, batch), figures, weights_of(batch).to(said.dtype))


class ClippedApart(OverGroups):
    """With a bound of its own above 1, so that unlikely tokens may become likelier by more.

    Args:
        clip: how far below 1 the ratio may go before it teaches nothing more.
        clip_high: how far above 1.
    """

    beta = 0.0
    clip_high: PositiveFloat = 0.28

    def highest(self) -> float:
        return 1 + self.clip_high


def standardised(rewards: Tensor) -> Tensor:
    """(B,) of each row's own reward among those of its group (B, G): less their mean, over their deviation."""
    return (rewards[:, 0] - rewards.mean(1)) / (rewards.std(1) + EPS)


def mean_of(values: Tensor, asked: Tensor) -> Tensor:
    """(B,) the mean of values (B, T) where ``asked``; 0 for a row without any."""
    return (values * asked).sum(1) / asked.sum(1).clamp(min=1)


def rewards_of(batch: Batch) -> Tensor:
    if batch.rewards is None or batch.rewards.shape[1] < 2:
        raise ValueError(
            "a loss over groups needs batch.rewards (B, G): of the row's answer and of the others to its prompt, at least one"
        )
    return batch.rewards


def lengths_of(batch: Batch) -> Tensor:
    if batch.lengths is None:
        raise ValueError(
            "a mean over a group's tokens needs batch.lengths (B, G): tokens of the row's answer and of the others to its prompt"
        )
    return batch.lengths


def reference_of(batch: Batch) -> Tensor:
    if batch.reference is None:
        raise ValueError("with beta above 0 it compares with a reference: batch.reference holds its log-probabilities (B, T)")
    return batch.reference
