"""Where each token stands in its own document."""

from __future__ import annotations

import torch
from torch import Tensor


def count_positions(ids: Tensor, documents: Tensor | None = None, valid: Tensor | None = None) -> Tensor:
    """(B, T), or (1, T) where all rows are alike: the number of valid tokens of the same document before each."""
    t = ids.shape[1]
    if documents is None and valid is None:
        return torch.arange(t, device=ids.device)[None]
    kept = torch.ones_like(ids) if valid is None else valid.to(ids.dtype)
    before = kept.cumsum(1) - kept
    if documents is None:
        return before
    starts = torch.ones_like(documents, dtype=torch.bool)
    starts[:, 1:] = documents[:, 1:] != documents[:, :-1]
    at_start = torch.where(starts, before, torch.zeros_like(before)).cummax(1).values
    return before - at_start
