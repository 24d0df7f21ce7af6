"""Several streams beside one another, (..., n, D), and the matrices that mix them."""

from __future__ import annotations

import torch
from torch import Tensor


def mixed(weights: Tensor, s: Tensor) -> Tensor:
    """``weights @ s`` over the streams, (..., m, n) of (..., n, D), in their own precision: under autocast too, since this is the stream itself."""
    with torch.autocast(s.device.type, enabled=False):
        return torch.matmul(weights, s)
