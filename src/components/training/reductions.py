"""Sums and weights of losses: added over micro-batches, then over ranks (``core/collectives.py``), and divided once."""

from __future__ import annotations

import torch
from torch import Tensor

from components.core.sockets import Terms
from components.functional.precision import widest


def add_sums(sums: dict[str, Tensor], terms: Terms) -> None:
    for name, (value, weight) in terms.losses.items():
        if value.dtype != weight.dtype:
            value, weight = (x.to(widest(x.device)) for x in (value, weight))
        pair, before = torch.stack((value.detach(), weight.detach())), sums.get(name)
        # fp32 stops counting targets at 16.7 million
        sums[name] = pair.to(widest(pair.device)) if before is None else before + pair


def times(value: Tensor, factor: float) -> Tensor:
    """``value * factor``, which is no operation where the factor is 1."""
    return value if factor == 1 else value * factor


def means(sums: dict[str, Tensor]) -> dict[str, float]:
    """Each term's sum divided by its weight. Terms without any target are left out."""
    return {name: s / w for name, (s, w) in ((n, v.tolist()) for n, v in sums.items()) if w}
