"""What is done to logits, or to the vectors that they are made of: a multiplier and a soft cap."""

from __future__ import annotations

from torch import Tensor


def multiplied(x: Tensor, factor: float) -> Tensor:
    """``x * factor``; before a product of matrices, since vectors are narrower than logits."""
    return x if factor == 1.0 else x * factor


def soft_capped(logits: Tensor, cap: float | None) -> Tensor:
    """cap * tanh(logits / cap), within (-cap, cap). Gemma 2 2024, arXiv:2408.00118, section 2."""
    return logits if cap is None else (logits / cap).tanh() * cap
