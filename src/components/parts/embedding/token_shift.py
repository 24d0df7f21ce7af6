"""The first layer can then see pairs of tokens.

Peng et al. 2023 (RWKV), arXiv:2305.13048, section 3.1; with a gate that depends on the token, as "smear" in modded-nanogpt and nanochat 2025
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.core.flops import Flops, Work, children
from components.core.registry import register
from components.core.signature import NonNegativeFloat, Positive, Probability
from components.core.sockets import SequenceInfo, info_of
from components.functional.earlier import earlier
from components.functional.linear import Linear
from components.parts.embedding._scale import scale_of, scaled


@register("embedding", "token_shift")
class TokenShiftEmbedding(nn.Module):
    """Token shift: to each token's vector a gated share of the one before it is added.

    Args:
        channels: how many of the token's first channels the gate reads; null: all.
        start: first value of the factor on the gate; at 0 the part begins as the plain embedding.
        scale: multiplies the vectors: a number, or "sqrt" for sqrt(d_model).
        dropout: probability of dropping an entry of the sum of token and position, applied by the model after ``embedding_norm``.

    Shapes: ids (B, T) -> (B, T, D).
    Errors: ValueError if channels exceeds d_model.

    x_t = e_t + factor * sigmoid(gate e_t) * e_(t-1); nothing stands before the first token of a document.
    """

    provides = ("table",)
    axes = {"table": ("vocab", "d_model"), "gate": ("d_model", "one"), "factor": ("one",)}

    def __init__(
        self,
        vocab_size: int,
        d_model: int,
        *,
        channels: Positive | None = None,
        start: float = 0.0,
        scale: NonNegativeFloat | Literal["sqrt"] = 1.0,
        dropout: Probability = 0.0,
    ) -> None:
        super().__init__()
        self.splits = {"vocab": vocab_size}
        self.channels, self.start = d_model if channels is None else channels, start
        if self.channels > d_model:
            raise ValueError(f"channels={channels} exceeds d_model={d_model}; choose at most as many, or null for all")
        self.table = nn.Embedding(vocab_size, d_model)
        self.gate = Linear(self.channels, 1, bias=False)
        self.factor = nn.Parameter(torch.empty(1))
        self.scale, self.dropout = scale_of(scale, d_model), dropout
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.constant_(self.factor, self.start)

    def flops(self, work: Work) -> Flops:
        return children(self, work, leave=("table",))  # looked up

    def forward(self, ids: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(ids, info)
        state = None if info.cache is None else info.cache.slot(self, info.visit).state
        x = self.table(ids)
        (before,) = earlier(x, info, 1, state)
        share = self.factor.to(x.dtype) * F.sigmoid(self.gate(x[..., : self.channels])).to(x.dtype)
        return scaled(x + share * before, self.scale)
