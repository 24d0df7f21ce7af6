"""Linear: the weighted mean of the same tensor of several models.

Wortsman et al. 2022 (model soups), arXiv:2203.05482
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def precise(tensors: Sequence[Tensor]) -> torch.dtype:
    """The dtype of sums over tensors: fp32 over numbers of at most 16 bits, else fp64."""
    return torch.float32 if all(t.dtype.itemsize <= 2 for t in tensors) else torch.float64


def weighted_mean(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Σ wᵢ xᵢ / Σ wᵢ.

    Args:
        tensors: of one shape, any floating-point dtype.
        weights: one for each, with a sum that is not 0.

    Shapes: n times (...) -> (...), in the dtype of `precise`.
    """
    total = torch.zeros(tensors[0].shape, dtype=precise(tensors))
    for tensor, weight in zip(tensors, weights, strict=True):
        total.add_(tensor.to(total.dtype), alpha=weight)
    return total.div_(sum(weights))
