"""Cross entropy of the next token and of tokens further ahead, each by a prediction of its own.

Gloeckle et al. 2024, arXiv:2404.19737, equation 2
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from components.core.registry import register
from components.core.signature import NonNegativeFloat, Positive
from components.core.sockets import Batch, Terms
from components.core.traits import tokens_ahead
from components.functional.cross_entropy import IGNORED
from components.parts.loss._tokens import need_targets, summed_cross_entropy


@register("loss", "multi_token")
class MultiTokenLoss:
    """Multi-token: next-token cross entropy, and that of each token further ahead that the head predicts.

    The term ``loss`` is that of the next token, as ``next_token`` has it; ``ahead_1`` and so on are those of the tokens after it, where
    they are in the same document. Each is a mean over the positions that have a next token.

    Args:
        vocab_size: number of logits.
        factor: with which each token further ahead enters the total; the paper has 1.
        chunk: rows whose logits are held at once, as ``next_token`` has it.
    """

    needs = {"head": ("ahead",)}
    carries_in = ("ahead",)
    refuses = {"model": ("causal",), "attention": ("causal",), "head": ("causal",)}
    provides = ("tokens",)
    likelihood = True

    def __init__(
        self, vocab_size: int, *, factor: NonNegativeFloat = 1.0, chunk: Positive | Literal["auto", "all"] = "auto"
    ) -> None:
        self.vocab_size, self.factor, self.chunk = vocab_size, factor, chunk

    def __call__(self, hidden: Tensor, head: Callable[..., Any], batch: Batch) -> Terms:
        need_targets(batch, "multi_token")
        n_ahead = tokens_ahead(head)
        if not n_ahead:
            raise ValueError("multi_token needs a head that predicts tokens further ahead; take head/multi_token")
        options = {"vocab_size": self.vocab_size, "chunk": self.chunk}
        loss, _, weight = summed_cross_entropy(hidden, head, batch, **options)
        losses, aim = {"loss": (loss, weight)}, {}
        for k in range(1, n_ahead + 1):
            value, _, _ = summed_cross_entropy(hidden, partial(head, ahead=k), further(batch, k), **options)
            losses[f"ahead_{k}"], aim[f"ahead_{k}"] = (value, weight), self.factor
        return Terms(losses, aim=aim)


def further(batch: Batch, k: int) -> Batch:
    """The batch with each position's target that of the position ``k`` after it, where that is in the same row and document."""
    targets = moved(batch.targets, k, IGNORED)
    if batch.documents is not None:
        targets = torch.where(moved(batch.documents, k, -1) == batch.documents, targets, IGNORED)
    weights = None if batch.weights is None else moved(batch.weights, k, 0.0)
    return replace(batch, targets=targets, weights=weights)


def moved(x: Tensor | None, k: int, fill: float) -> Tensor:
    """(B, T), each row moved ``k`` places to the left."""
    assert x is not None
    return torch.cat((x[:, k:], torch.full_like(x[:, :k], fill)), 1)
