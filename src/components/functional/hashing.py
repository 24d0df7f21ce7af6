"""Fixed hashes of whole numbers: the same on every machine and in every process."""

from __future__ import annotations

from torch import Tensor

BITS = 0x7FFFFFFF  # numbers stay below 2^31, so that their products fit 63 bits


def mixed(keys: Tensor) -> Tensor:
    """Whole numbers -> numbers below 2^31 that look random: two rounds of multiplying and folding the high bits down."""
    for factor in (0x9E3779B1, 0x85EBCA77):
        keys = (keys & BITS) * factor
        keys = (keys >> 15) ^ (keys & BITS)
    return keys & BITS
