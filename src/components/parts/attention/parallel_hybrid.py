"""One layer looks up and keeps a summary at once: an attention and a recurrence read the same vectors side by side, and both are added.

Zuo et al. 2025 (Falcon-H1), arXiv:2507.22448; heads of both kinds in one layer: Dong et al. 2024 (Hymba), arXiv:2411.13676
"""

from __future__ import annotations

from torch import Tensor, nn

from components.core.flops import Flops, Work, children
from components.core.registry import register
from components.core.signature import PositiveFloat
from components.core.sockets import Maker, Place, SequenceInfo, info_of
from components.parts.attention._inner import inner, read_apart

RECURRENT = "recurrent."  # before the words that the recurrence hands on


@register("attention", "parallel_hybrid")
class ParallelHybrid(nn.Module):
    """Parallel hybrid: an attention and a recurrent mixer read the same input, and what they write is added.

    y = attention_out * attention(attention_in * x) + recurrent_out * recurrent(recurrent_in * x). Each keeps what it keeps elsewhere: the attention
    its keys and values, the recurrence its state. The position is the attention's alone.

    Args:
        attention_mixer: looks at single positions; one that takes rotations and biases.
        recurrent_mixer: keeps a state.
        attention_in: factor on what the attention reads.
        attention_out: factor on what it writes.
        recurrent_in: factor on what the recurrence reads.
        recurrent_out: factor on what it writes.

    Shapes: (B, T, D) -> (B, T, D).
    """

    provides = ("rotates", "biases")
    needs = {"attention_mixer": ("rotates", "biases")}

    def __init__(
        self,
        d_model: int,
        context_length: int | None = None,
        place: Place | None = None,
        *,
        attention_mixer: Maker["attention"] = "gqa",
        recurrent_mixer: Maker["attention"] = "mamba2",
        attention_in: PositiveFloat = 1.0,
        attention_out: PositiveFloat = 1.0,
        recurrent_in: PositiveFloat = 1.0,
        recurrent_out: PositiveFloat = 1.0,
    ) -> None:
        super().__init__()
        self.attention_mixer = inner(attention_mixer, d_model, context_length, place)
        self.recurrent_mixer = inner(recurrent_mixer, d_model, context_length, place)
        self.attention_factors, self.recurrent_factors = (attention_in, attention_out), (recurrent_in, recurrent_out)

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(x, info)
        (a_in, a_out), (r_in, r_out) = self.attention_factors, self.recurrent_factors
        looked = times(self.attention_mixer(times(x, a_in), info), a_out)
        return looked + times(read_apart(self.recurrent_mixer, times(x, r_in), info, RECURRENT), r_out)

    def flops(self, work: Work) -> Flops:
        return children(self, work)


def times(x: Tensor, factor: float) -> Tensor:
    """``factor * x``, which is x itself for 1."""
    return x if factor == 1.0 else factor * x
