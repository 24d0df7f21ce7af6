"""TIES: add to a base what several models changed in it: trimmed to the largest changes, by the sign that outweighs the other, as a mean.

Yadav et al. 2023, arXiv:2306.01708. The paper trims the changes of a whole model at once; here each tensor is trimmed by itself, as mergekit does it
(arXiv:2403.13257): then no more than a tensor is held, and no layer is left out because its weights are small.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from components.functional.model_soup import precise


def trimmed(change: Tensor, density: float) -> Tensor:
    """``change`` with all but the largest ``density`` of its numbers, by magnitude, set to 0. At least one stays."""
    if density >= 1 or not change.numel():
        return change
    magnitude = change.flatten().abs()
    n = magnitude.numel()
    count = max(1, int(density * n))
    smallest = float(np.partition(magnitude.numpy(), n - count)[n - count])  # ten times as fast as topk, which keeps indices
    kept = magnitude > smallest
    kept[(magnitude == smallest).nonzero()[: count - int(kept.sum())]] = True  # of equal ones the first
    return change * kept.view(change.shape)


def ties(base: Tensor, tensors: Sequence[Tensor], weights: Sequence[float], density: float) -> Tensor:
    """base + Σ wᵢ δᵢ / Σ wᵢ, for each number over those i whose trimmed change δᵢ has the sign of Σ wⱼ δⱼ over all j.

    Args:
        base: what all models began with.
        tensors: the same tensor of each model, of the shape of ``base``.
        weights: one for each, >= 0.
        density: share of each change that is kept.

    Shapes: (...), n times (...) -> (...), in the dtype of ``model_soup.precise``.
    """
    dtype = precise((base, *tensors))
    start = base.to(dtype)
    changes = [trimmed(tensor.to(dtype) - start, density) for tensor in tensors]
    vote, total, agreeing = (torch.zeros_like(start) for _ in range(3))
    for change, weight in zip(changes, weights, strict=True):
        vote.add_(change, alpha=weight)
    sign = torch.where(vote >= 0, 1.0, -1.0)
    for change, weight in zip(changes, weights, strict=True):
        of_one_mind = change.sign() == sign
        total.add_(change * of_one_mind, alpha=weight)
        agreeing.add_(of_one_mind, alpha=weight)
    return start + total / torch.where(agreeing == 0, 1.0, agreeing)
