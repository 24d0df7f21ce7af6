"""Sums and weights of losses: added up over micro-batches, and over ranks by ``collectives``, divided once."""

from __future__ import annotations

import torch
from torch import Tensor

from components.sockets import Terms


def add_sums(sums: dict[str, Tensor], terms: Terms) -> None:
    for name, (value, weight) in terms.losses.items():
        pair = torch.stack((value.detach().double(), weight.detach().double()))  # fp32 stops counting targets at 16.7 million
        sums[name] = sums[name] + pair if name in sums else pair


def means(sums: dict[str, Tensor]) -> dict[str, float]:
    return {name: (s / w if w else 0.0) for name, (s, w) in ((n, v.tolist()) for n, v in sums.items())}
