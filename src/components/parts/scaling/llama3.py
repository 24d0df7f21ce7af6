"""Llama team 2024, arXiv:2407.21783; numbers as in transformers' ``llama3``"""

from __future__ import annotations

import math

from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import Positive, PositiveFloat
from components.core.sockets import SequenceInfo
from components.parts.scaling._lengths import stretch


@register("scaling", "llama3")
class Llama3Scaling(nn.Module):
    """Llama 3's scaling: long waves are divided by a factor, short ones stay, those between are blended.

    Args:
        factor: what long waves' frequencies are divided by (8 in Llama 3.1, 32 in 3.2).
        low_freq_factor: waves that fit less often than this into the original context are divided in full.
        high_freq_factor: waves that fit more often stay.
        original_context: positions that the model was trained on; null: context_length.

    Where the two are equal nothing is blended, as in Llama 4. Errors: ValueError if low_freq_factor is above high_freq_factor.
    """

    factor = 1.0

    def __init__(
        self,
        context_length: int | None = None,
        *,
        factor: PositiveFloat = 8.0,
        low_freq_factor: PositiveFloat = 1.0,
        high_freq_factor: PositiveFloat = 4.0,
        original_context: Positive | None = None,
    ) -> None:
        super().__init__()
        if low_freq_factor > high_freq_factor:
            raise ValueError(f"low_freq_factor={low_freq_factor} must not be above high_freq_factor={high_freq_factor}")
        self.stretch, self.original = stretch(factor, original_context, context_length)
        self.low, self.high = low_freq_factor, high_freq_factor

    def scale(self, frequencies: Tensor, info: SequenceInfo) -> Tensor:  # noqa: ARG002  the contract's arguments
        fits = self.original * frequencies / (2 * math.pi)  # how often a wave fits into the original context
        blend = self.high - self.low
        kept = ((fits - self.low) / blend).clamp(0, 1) if blend else (fits >= self.low).to(fits.dtype)
        return (1 - kept) * frequencies / self.stretch + kept * frequencies
