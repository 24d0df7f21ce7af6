"""Sums and weights of losses: added over micro-batches, then over ranks (``core/collectives.py``), and divided once."""

from __future__ import annotations

import torch
from torch import Tensor

from components.core.sockets import Terms
from components.functional.precision import widest


def add_sums(sums: dict[str, Tensor], terms: Terms) -> None:
    for name, (value, weight) in terms.losses.items():
        # fp32 stops counting targets at 16.7 million
        pair = torch.stack([x.detach().to(widest(x.device)) for x in (value, weight)])
        sums[name] = sums[name] + pair if name in sums else pair


def means(sums: dict[str, Tensor]) -> dict[str, float]:
    """Each term's sum divided by its weight. Terms without any target are left out."""
    return {name: s / w for name, (s, w) in ((n, v.tolist()) for n, v in sums.items()) if w}
