"""Rotated vectors grow a little.

Peng et al. 2023, arXiv:2309.00071, eqs. 17-22; ``truncate`` as in gpt-oss, ``mscale`` as in DeepSeek-V2 (arXiv:2405.04434)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import NonNegativeFloat, Positive, PositiveFloat
from components.core.sockets import SequenceInfo
from components.parts.scaling._lengths import stretch


@register("scaling", "yarn")
class YarnScaling(nn.Module):
    """YaRN: fast pairs keep their frequency, slow ones are divided, those between are blended.

    Args:
        factor: what slow frequencies are divided by; null: context_length / original_context.
        original_context: positions that the model was trained on; null: context_length.
        beta_fast: pairs that turn more often than this within the original context keep their frequency.
        beta_slow: pairs that turn less often are divided in full.
        truncate: round the range between the two outwards to whole pairs (gpt-oss does not).
        attention_factor: multiplies rotated queries and keys; null: 0.1 ln(factor) + 1, or a quotient of two such numbers.
        mscale: in the quotient's numerator, 0.1 mscale ln(factor) + 1; 0: no quotient.
        mscale_all_dim: in its denominator; 0: no quotient. DeepSeek's attention multiplies its own scale by the square of that.
    """

    def __init__(
        self,
        width: int,
        base: float,
        context_length: int | None = None,
        *,
        factor: PositiveFloat | None = None,
        original_context: Positive | None = None,
        beta_fast: PositiveFloat = 32.0,
        beta_slow: PositiveFloat = 1.0,
        truncate: bool = True,
        attention_factor: PositiveFloat | None = None,
        mscale: NonNegativeFloat = 0.0,
        mscale_all_dim: NonNegativeFloat = 0.0,
    ) -> None:
        super().__init__()
        self.stretch, original = stretch(factor, original_context, context_length)
        if attention_factor is None:
            attention_factor = self._grows(1.0)
            if mscale and mscale_all_dim:
                attention_factor = self._grows(mscale) / self._grows(mscale_all_dim)
        self.factor = float(attention_factor)
        low, high = (
            width * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(base)) for turns in (beta_fast, beta_slow)
        )
        if truncate:
            low, high = math.floor(low), math.ceil(high)
        self.low, self.high = max(low, 0), min(high, width - 1)
        if self.low == self.high:
            self.high += 0.001

    def _grows(self, mscale: float) -> float:
        return 1.0 if self.stretch <= 1 else 0.1 * mscale * math.log(self.stretch) + 1.0

    def scale(self, frequencies: Tensor, info: SequenceInfo) -> Tensor:  # noqa: ARG002  the contract's arguments
        pair = torch.arange(frequencies.shape[0], device=frequencies.device, dtype=torch.float32)
        divided = ((pair - self.low) / (self.high - self.low)).clamp(0, 1)
        return frequencies * (1 - divided) + frequencies / self.stretch * divided
