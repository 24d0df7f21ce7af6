"""A causal mixer becomes an encoder's: run it over the sequence and over its reverse, and join the two.

Schuster & Paliwal 1997 (bidirectional recurrent networks); Graves & Schmidhuber 2005
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from components.core.flops import Flops, Work, children
from components.core.positions import count_positions
from components.core.registry import register
from components.core.sockets import Maker, Place, SequenceInfo, info_of
from components.parts.attention._inner import inner, read_apart

REVERSED = "reversed."  # before the words that the reverse reader hands on: their positions run backwards


@register("attention", "both_ways")
class BothWays(nn.Module):
    """Both ways: one mixer reads the sequence, another its reverse, so that every position knows what comes after it.

    For encoders. Each mixer works as in a decoder, and neither sees what the other reads; documents and padding are turned round with the sequence.

    Args:
        forward_mixer: reads from left to right.
        backward_mixer: reads from right to left.
        combine: what both wrote is added, or averaged.

    Shapes: (B, T, D) -> (B, T, D).
    Errors: ValueError with a cache: what follows is not there when a position is decoded.
    """

    lacks = ("causal", "cacheable")
    checked_with = ("model.position=none",)

    def __init__(
        self,
        d_model: int,
        context_length: int | None = None,
        place: Place | None = None,
        *,
        forward_mixer: Maker["attention"] = "lstm",
        backward_mixer: Maker["attention"] = "lstm",
        combine: Literal["sum", "mean"] = "sum",
    ) -> None:
        super().__init__()
        self.forward_mixer = inner(forward_mixer, d_model, context_length, place)
        self.backward_mixer = inner(backward_mixer, d_model, context_length, place)
        self.backward_mixer.reads_backwards = True  # for who looks at what it reads
        self.factor = 1.0 if combine == "sum" else 0.5

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(x, info)
        if info.cache is not None:
            raise ValueError("attention/both_ways reads what follows, so it cannot decode with a cache: use it in encoders")
        left = self.forward_mixer(x, info.with_(causal=True, prefix=None))
        both = left + read_apart(self.backward_mixer, x.flip(1), info, REVERSED, turned(x, info)).flip(1)
        return both if self.factor == 1.0 else both * self.factor

    def flops(self, work: Work) -> Flops:
        return children(self, replace(work, causal=True))


def turned(x: Tensor, info: SequenceInfo) -> SequenceInfo:
    """What describes the reversed sequence: positions count from each document's other end."""
    fields = {n: getattr(info, n) for n in ("ids", "documents", "valid", "token_types")}
    flipped = {n: None if v is None else v.flip(1) for n, v in fields.items()}
    like = torch.zeros(x.shape[:2], dtype=torch.long, device=x.device)
    documents = None if flipped["documents"] is None else flipped["documents"].expand_as(like)
    positions = count_positions(like, documents, flipped["valid"])
    return info.with_(**flipped, positions=positions, causal=True, prefix=None)
