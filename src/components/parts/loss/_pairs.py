"""What losses over pairs have in common: the log-probability of each of a row's two answers, and the figures that are reported beside the loss.

A pair is one row: document 0 is the chosen answer after its prompt, document 1 the rejected one. Its weight is the sum of its targets' weights.
A row may have one of the two alone: an answer that was judged by itself.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from components.core.options import Options
from components.core.signature import Positive
from components.core.sockets import Batch, Terms
from components.functional.cross_entropy import IGNORED
from components.parts.loss._answers import asked_log_probs, terms_of_rows, weights_of
from components.parts.loss._tokens import Chunk, Head, need_targets


class Answers(NamedTuple):
    """What a model says of B pairs. ``log_probs``: (B, 2) sums over an answer's targets, ``lengths``: (B, 2) their numbers, ``weights``: (B,)."""

    log_probs: Tensor
    lengths: Tensor
    weights: Tensor

    def there(self) -> Tensor:
        """(B, 2) 1 for each answer that a row has, else 0."""
        return (self.lengths > 0).to(self.log_probs.dtype)

    def means(self) -> Tensor:
        """(B, 2) the mean log-probability of an answer's tokens; 0 for an answer without any."""
        return self.log_probs / self.lengths.clamp(min=1)


class OverAnswers(Options):
    """The base of losses that read the log-probabilities of both answers.

    Args:
        vocab_size: number of logits.
        chunk: rows whose logits are held at once, as ``next_token`` has it.
    """

    refuses = {"model": ("causal",), "attention": ("causal",), "head": ("causal",)}
    provides = ("pairs",)
    likelihood = False

    chunk: Positive | Literal["auto", "all"] = "auto"

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size

    def answers(self, hidden: Tensor, head: Head, batch: Batch) -> Answers:
        return answers_of(hidden, head, batch, vocab_size=self.vocab_size, chunk=self.chunk)


def answers_of(hidden: Tensor, head: Head, batch: Batch, *, vocab_size: int, chunk: Chunk = "auto") -> Answers:
    """The answers of ``batch``, whose rows are pairs. Only positions that have a target go through the head, ``chunk`` of them at a time.

    Raises:
        ValueError: ``batch`` has no documents, or no targets.
    """
    if batch.documents is None:
        raise ValueError("a loss over pairs needs batch.documents: 0 for the chosen answer, 1 for the rejected one")
    targets = need_targets(batch, "a loss over pairs", "those of both answers")
    each, kept = asked_log_probs(hidden, head, targets, vocab_size=vocab_size, chunk=chunk)
    rows = torch.arange(len(batch.ids), device=targets.device)[:, None]
    places = (2 * rows + batch.documents).reshape(-1)[kept].clamp(min=0)  # the answer that each position belongs to
    counts = targets.reshape(-1)[kept] != IGNORED
    empty = each.new_zeros(2 * len(batch.ids))
    log_probs = empty.index_add(0, places, each).view(-1, 2)
    lengths = empty.index_add(0, places, counts.to(each.dtype)).view(-1, 2)
    return Answers(log_probs, lengths, weights_of(batch).to(each.dtype))


def ratios_of(answers: Answers, batch: Batch, name: str) -> Tensor:
    """(B, 2) log(policy / reference) of each answer. ValueError without a reference."""
    if batch.reference is None:
        raise ValueError(f"{name} compares with a reference: batch.reference holds its log-probabilities (B, 2)")
    return answers.log_probs - batch.reference.to(answers.log_probs.dtype)


def terms_of_pairs(
    loss: Tensor,
    rewards: Tensor,
    weights: Tensor,
    *,
    ratios: Tensor | None = None,
    baseline: Tensor | None = None,
    there: Tensor | None = None,
) -> Terms:
    """The loss and figures that no gradient comes from, all of them sums over pairs.

    ``margin`` is how much higher the chosen answer's reward is, ``preferred`` the share of pairs in which it is the higher one. ``kl`` is the mean
    of log(policy / reference) over a row's answers: Schulman's first estimator (joschu.net/blog/kl-approx.html), on answers that are the data's and
    not the policy's own, so that it may be below 0. Of an answer that was judged by itself ``margin`` is its reward, with the other sign where it was
    rejected.

    Args:
        loss: (B,) of each pair.
        rewards: (B, 2) of each answer.
        weights: (B,).
        ratios: (B, 2), where there is a reference.
        baseline: (B,), where there is one.
        there: (B, 2) 1 for each answer that a row has; None: all have both.
    """
    margin = (rewards[:, 0] - rewards[:, 1]).detach()
    figures = {"margin": margin, "preferred": (margin > 0).to(margin.dtype)}
    if ratios is not None:
        figures["kl"] = ratios.detach().mean(1) if there is None else over(ratios.detach(), there)
    if baseline is not None:
        figures["baseline"] = baseline
    return terms_of_rows(loss, figures, weights)


def over(each: Tensor, there: Tensor) -> Tensor:
    """(B,) the mean over the answers that a row has; 0 where it has none."""
    return (each * there).sum(1) / there.sum(1).clamp(min=1)


def answers_in(batch: Batch) -> Tensor:
    """(B, 2) which of its two answers each row has."""
    assert batch.documents is not None
    asked = need_targets(batch, "a loss over pairs", "those of both answers") != IGNORED
    return torch.stack([(asked & (batch.documents == number)).any(1) for number in (0, 1)], 1)
