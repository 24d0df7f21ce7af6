"""What the embeddings have in common: the factor on their vectors."""

from __future__ import annotations

import math

from torch import Tensor


def scale_of(scale: float | str, d_model: int) -> float:
    """The option ``scale`` as a number; "sqrt" is sqrt(d_model)."""
    return math.sqrt(d_model) if scale == "sqrt" else float(scale)


def scaled(x: Tensor, scale: float) -> Tensor:
    return x if scale == 1.0 else x * scale
