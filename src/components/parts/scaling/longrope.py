"""The divisors are found by search.

Ding et al. 2024, arXiv:2402.13753; numbers as in transformers' ``longrope`` (Phi-3)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import Positive, PositiveFloat
from components.core.sockets import SequenceInfo
from components.functional.rotary import reach
from components.parts.scaling._lengths import stretch


@register("scaling", "longrope")
class LongRopeScaling(nn.Module):
    """LongRoPE: every pair has a divisor of its own, one list for short documents and one for long.

    Args:
        short_factor: divisors, one per pair, for documents within the original context; none: all 1.
        long_factor: divisors for longer documents; none: all 1.
        original_context: where long begins; null: context_length. A text that comes there while it is written is read again, since the keys that a
            cache stored were turned by the short divisors.
        factor: how much longer the new context is; null: context_length / original_context.
        attention_factor: multiplies rotated queries and keys; null: sqrt(1 + ln(factor) / ln(original_context)), 1 for factors up to 1.

    Errors: ValueError if a list is not as long as there are pairs.

    The length is each document's own, as far as one call sees it: a text that passes original_context is turned by the long divisors from its
    first token on. Keys that a cache stored keep the short ones, so decoding reads the text again when it comes to original_context
    (``turns_at``), and a longer prompt in one piece, whatever prefill_chunk says. Who calls a model with a cache, and speculative
    decoding, have the short keys beside the long ones.
    """

    lacks = ("exact_cache_beyond_context",)

    def __init__(
        self,
        width: int,
        context_length: int | None = None,
        *,
        short_factor: tuple[float, ...] = (),
        long_factor: tuple[float, ...] = (),
        original_context: Positive | None = None,
        factor: PositiveFloat | None = None,
        attention_factor: PositiveFloat | None = None,
    ) -> None:
        super().__init__()
        for name, given in (("short_factor", short_factor), ("long_factor", long_factor)):
            if given and len(given) != width // 2:
                raise ValueError(f"{name} has {len(given)} numbers, and {width} rotated channels are {width // 2} pairs")
        times, self.original = stretch(factor, original_context, context_length)
        if attention_factor is None:
            attention_factor = 1.0 if times <= 1 else math.sqrt(1 + math.log(times) / math.log(self.original))
        self.turns_at = self.original  # the position at which all earlier ones turn otherwise
        self.factor = float(attention_factor)
        self.short, self.long = (tuple(given) or (1.0,) * (width // 2) for given in (short_factor, long_factor))

    def scale(self, frequencies: Tensor, info: SequenceInfo) -> Tensor:
        short, long = (torch.tensor(f, dtype=torch.float32, device=frequencies.device) for f in (self.short, self.long))
        beyond = (reach(info) >= self.original)[..., None]
        return frequencies / torch.where(beyond, long, short)  # (B or 1, T or 1, R/2)
