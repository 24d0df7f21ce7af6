"""Next token: cross entropy of each position's logits with the token that follows, label smoothing and z-loss by option.

Smoothing: Szegedy et al. 2016, arXiv:1512.00567; z-loss: Chowdhery et al. 2022, arXiv:2204.02311
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from components.functional.cross_entropy import IGNORED, cross_entropy
from components.registry import register
from components.signature import Fraction, NonNegativeFloat, Positive
from components.sockets import Batch, Terms

# With ``chunk: auto``: logits above the first figure (bytes) are made and forgotten in chunks of at most the second.
ONE_GO, CHUNK = 2**28, 2**26


@register("loss", "next_token")
class NextToken:
    """Next token: cross entropy with the token that follows, in nats, summed in fp32.

    Positions with target -100 count nothing; ``batch.weights`` weigh the others. The term ``loss`` has the sum of weights as its
    weight; ``z_loss``, there only if it has a factor, is the mean square of log Z and enters the total with that factor.

    Args:
        vocab_size: number of logits.
        z_loss: factor of the mean square of log Z, which keeps logits from drifting; 1e-4 is usual.
        label_smoothing: share of each target that is spread over all tokens.
        chunk: rows whose logits are held at once; a second chunk is recomputed in the backward pass, for one head product more.
            ``auto`` takes all in one go up to 256 MB of logits, ``all`` always.
    """

    refuses = {"model": ("causal",)}  # a model that sees the token it is to predict learns nothing

    def __init__(
        self,
        vocab_size: int,
        *,
        z_loss: NonNegativeFloat = 0.0,
        label_smoothing: Fraction = 0.0,
        chunk: Positive | Literal["auto", "all"] = "auto",
    ) -> None:
        self.vocab_size, self.z_loss, self.label_smoothing, self.chunk = vocab_size, z_loss, label_smoothing, chunk

    def __call__(self, hidden: Tensor, head: Callable[[Tensor], Tensor], batch: Batch) -> Terms:
        if batch.targets is None:
            raise ValueError("next_token needs batch.targets: the data side shifts them")
        n = batch.targets.numel()
        targets = batch.targets.reshape(n)
        weights = None if batch.weights is None else batch.weights.reshape(n)
        rows = self.rows(n, hidden)
        if rows >= n:
            loss, z = self._terms(hidden, head, targets, weights)
        else:
            flat = hidden.reshape(1, n, hidden.shape[-1])
            parts = []
            for i in range(0, n, rows):
                part = slice(i, i + rows)
                arguments = (flat[:, part], head, targets[part], None if weights is None else weights[part])
                recompute = torch.is_grad_enabled()
                parts.append(checkpoint(self._terms, *arguments, use_reentrant=False) if recompute else self._terms(*arguments))
            loss, z = (torch.stack(p).sum() for p in zip(*parts))
        asked = targets != IGNORED
        weight = asked.sum().float() if weights is None else (asked * weights.float()).sum()
        losses = {"loss": (loss, weight)}
        if self.z_loss:
            losses["z_loss"] = (z, weight)
        return Terms(losses, aim={"z_loss": self.z_loss} if self.z_loss else {})

    def rows(self, n: int, hidden: Tensor) -> int:
        """How many of ``n`` rows of logits are held at once."""
        if not isinstance(self.chunk, str):
            return self.chunk
        device = hidden.device.type
        autocast = torch.is_autocast_enabled(device) and hidden.dtype != torch.float64
        dtype = torch.get_autocast_dtype(device) if autocast else hidden.dtype
        row = self.vocab_size * dtype.itemsize
        return n if self.chunk == "all" or n * row <= ONE_GO else max(1, CHUNK // row)

    def _terms(
        self, hidden: Tensor, head: Callable[[Tensor], Tensor], targets: Tensor, weights: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        logits = head(hidden).reshape(targets.numel(), -1)
        return cross_entropy(logits, targets, weights, self.label_smoothing)
