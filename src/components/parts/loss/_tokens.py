"""What the losses over tokens have in common: cross entropy of rows of logits that are made and forgotten in chunks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from components.core.sockets import Batch
from components.core.traits import logits_here
from components.functional import chosen
from components.functional.cross_entropy import IGNORED, cross_entropy

# With ``chunk: auto``: logits above the first figure (bytes) are made and forgotten in chunks of at most the second.
ONE_GO, CHUNK = 2**28, 2**26

Head = Callable[[Tensor], Tensor]
Chunk = int | Literal["auto", "all"]


def summed_cross_entropy(
    hidden: Tensor,
    head: Head,
    batch: Batch,
    *,
    vocab_size: int,
    chunk: Chunk,
    label_smoothing: float = 0.0,
    sparse: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """(Σ w · cross entropy, Σ w · log²Z, Σ w) over the targets of ``batch``, in fp32.

    Args:
        hidden: (B, T, D).
        head: (..., D) -> (..., V), each position alone.
        batch: with targets (B, T), -100 where nothing is asked, and perhaps weights.
        vocab_size: number of logits, for ``chunk``.
        chunk: rows whose logits are held at once, by ``rows_at_once``.
        label_smoothing: share of each target that is spread over all tokens.
        sparse: few targets are asked for: only their rows go through the head.
    """
    assert batch.targets is not None
    targets = batch.targets.reshape(-1)
    weights = None if batch.weights is None else batch.weights.reshape(-1)
    asked = targets != IGNORED
    weight = asked.sum().float() if weights is None else (asked * weights.float()).sum()
    if sparse and not torch.compiler.is_compiling():  # how many there are is not known before
        kept = asked.nonzero()[:, 0]
        kept = kept if len(kept) else kept.new_zeros(1)  # the head takes part in every backward pass
        hidden = hidden.reshape(1, -1, hidden.shape[-1])[:, kept]
        targets, weights = targets[kept], None if weights is None else weights[kept]

    here = logits_here(head)

    def terms(hidden: Tensor, targets: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
        logits, group = (head(hidden), None) if here is None else here(hidden)
        return cross_entropy(logits.reshape(targets.numel(), -1), targets, weights, label_smoothing, group)

    loss, z = in_chunks(terms, rows_at_once(chunk, targets.numel(), vocab_size, hidden), hidden, targets, weights)
    return loss, z, weight


def in_chunks(
    terms: Callable[..., tuple[Tensor, Tensor]],
    rows: int,
    hidden: Tensor,
    targets: Tensor,
    weights: Tensor | None,
    *more: Tensor,
) -> tuple[Tensor, Tensor]:
    """``terms(hidden, targets, weights, *more)`` summed over ``rows`` rows at a time, each recomputed in the backward pass."""
    n = targets.numel()
    if rows >= n:
        return terms(hidden, targets, weights, *more)
    flat, *rest = (x.reshape(1, n, x.shape[-1]) for x in (hidden, *more))
    parts = []
    for i in range(0, n, rows):
        at = slice(i, i + rows)
        arguments = (flat[:, at], targets[at], None if weights is None else weights[at], *(x[:, at] for x in rest))
        parts.append(checkpoint(terms, *arguments, use_reentrant=False) if torch.is_grad_enabled() else terms(*arguments))
    first, second = (torch.stack(p).sum() for p in zip(*parts))
    return first, second


def rows_at_once(chunk: Chunk, n: int, vocab_size: int, hidden: Tensor) -> int:
    """How many of ``n`` rows of logits are held at once: ``chunk``, all, or as many as 64 MB hold where all are more than 256 MB."""
    rows, why = _rows_and_why(chunk, n, vocab_size, hidden)
    if chosen.heard is not None:
        chosen.tell("loss", "all logits at once" if rows >= n else f"logits of {rows} rows at a time", why)
    return rows


def _rows_and_why(chunk: Chunk, n: int, vocab_size: int, hidden: Tensor) -> tuple[int, str]:
    if not isinstance(chunk, str):
        return chunk, f"loss.chunk={chunk}"
    device = hidden.device.type
    autocast = torch.is_autocast_enabled(device) and hidden.dtype != torch.float64
    dtype = torch.get_autocast_dtype(device) if autocast else hidden.dtype
    row = vocab_size * dtype.itemsize
    if chunk == "all":
        return n, "loss.chunk=all"
    if n * row <= ONE_GO:
        return n, f"all are at most {ONE_GO >> 20} MB"
    return max(1, CHUNK // row), f"all would be more than {ONE_GO >> 20} MB"


def need_targets(batch: Batch, name: str, how: str = "the data side shifts them") -> Tensor:
    """The batch's targets. ValueError without any."""
    if batch.targets is None:
        raise ValueError(f"{name} needs batch.targets: {how}")
    return batch.targets
