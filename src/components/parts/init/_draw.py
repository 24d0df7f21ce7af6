"""What inits have in common: a matrix drawn with a standard deviation from one of the usual distributions."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from components.core.weights import Weight, blank


def drawn(weight: Weight, generator: torch.Generator, std: float, distribution: str = "normal", cutoff: float = 3.0) -> Tensor:
    """``distribution``: normal, uniform (of the same std), or truncated (normal, redrawn beyond ``cutoff`` times ``std``)."""
    value = blank(weight, generator)
    if std == 0.0:
        return value.zero_()
    if distribution == "uniform":
        bound = math.sqrt(3) * std
        return value.uniform_(-bound, bound, generator=generator)
    if distribution == "truncated":
        return nn.init.trunc_normal_(value, 0.0, std, -cutoff * std, cutoff * std, generator=generator)
    return value.normal_(0.0, std, generator=generator)
