"""What losses over whole answers have in common: log-probabilities of what is asked, the weight of each row, and figures beside the loss."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from components.core.sockets import Batch, Terms
from components.functional.cross_entropy import IGNORED
from components.functional.precision import at_least_fp32
from components.parts.loss._tokens import Chunk, Head, rows_at_once


def asked_log_probs(
    hidden: Tensor, head: Head, targets: Tensor, *, vocab_size: int, chunk: Chunk = "auto"
) -> tuple[Tensor, Tensor]:
    """(N,) the log-probabilities of the targets (B, T), and (N,) where they stand among B x T. Only these positions go through the head, ``chunk`` of them
    at a time. Where nothing is asked, one position stands for all, with 0: the head takes part in every backward pass."""
    flat = targets.reshape(-1)
    kept = (flat != IGNORED).nonzero()[:, 0]
    kept = kept if len(kept) else kept.new_zeros(1)
    read, wanted = hidden.reshape(-1, hidden.shape[-1])[kept], flat[kept].clamp(min=0)

    def said(read: Tensor, wanted: Tensor) -> Tensor:
        logits = at_least_fp32(head(read[None])[0])
        return logits.gather(1, wanted[:, None])[:, 0] - logits.logsumexp(-1)

    size = rows_at_once(chunk, len(kept), vocab_size, hidden)
    parts = []
    for i in range(0, len(kept), size):
        given = read[i : i + size], wanted[i : i + size]
        recomputed = size < len(kept) and torch.is_grad_enabled()
        parts.append(checkpoint(said, *given, use_reentrant=False) if recomputed else said(*given))
    return torch.where(flat[kept] != IGNORED, torch.cat(parts), 0.0), kept


def target_log_probs(hidden: Tensor, head: Head, targets: Tensor, *, vocab_size: int, chunk: Chunk = "auto") -> Tensor:
    """(B, T) the log-probability of each target, 0 where nothing is asked."""
    each, kept = asked_log_probs(hidden, head, targets, vocab_size=vocab_size, chunk=chunk)
    return each.new_zeros(targets.numel()).index_add(0, kept, each).view(targets.shape)


def weights_of(batch: Batch) -> Tensor:
    """(B,) the weight of each row: the sum of its targets' weights, or 1 if it has a target."""
    assert batch.targets is not None
    there = batch.targets != IGNORED
    return there.any(1).float() if batch.weights is None else (batch.weights * there).sum(1)


def terms_of_rows(loss: Tensor, figures: Mapping[str, Tensor], weights: Tensor) -> Terms:
    """The loss (B,) of each row and ``figures`` (B,) that no gradient comes from, as sums over rows; their weights are (B,)."""
    total = weights.sum()
    losses = {name: ((value * weights).sum(), total) for name, value in {"loss": loss, **figures}.items()}
    return Terms(losses, aim=dict.fromkeys(figures, 0.0))
