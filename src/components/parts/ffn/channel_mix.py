"""Peng et al. 2023 (RWKV), arXiv:2305.13048, equations 11 to 13; without the gate: RWKV-7, arXiv:2503.14456"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import Positive, PositiveFloat
from components.core.sockets import Place, SequenceInfo, info_of
from components.functional.activations import relu2
from components.functional.bent_linear import bent_linear
from components.functional.earlier import earlier
from components.functional.linear import Linear


@register("ffn", "channel_mix")
class ChannelMix(nn.Module):
    """Channel mix: a squared-ReLU MLP over a blend of each position and the one before it, with a gate.

    Args:
        d_ff: width in between; null: ``widen`` times d_model.
        widen: used where d_ff is null.
        gate: whether the output is scaled by the sigmoid of a projection of its own (the receptance; RWKV-7 has none).

    Shapes: (B, T, D) -> (B, T, D). Nothing stands before the first position of a document.
    """

    axes = {
        "key": ("d_model", "d_ff"),
        "out": ("d_ff", "d_model"),
        "receptance": ("d_model", "d_model"),
        "mix_key": ("d_model",),
        "mix_receptance": ("d_model",),
    }

    def __init__(
        self,
        d_model: int,
        place: Place | None = None,
        *,
        d_ff: Positive | None = None,
        widen: PositiveFloat = 4.0,
        gate: bool = True,
    ) -> None:
        super().__init__()
        width = int(d_model * widen) if d_ff is None else d_ff
        self.splits = {"d_ff": width}
        self.share = 0.0 if place is None else place.index / place.count
        self.key, self.out = Linear(d_model, width, bias=False), Linear(width, d_model, bias=False)
        self.mix_key = nn.Parameter(torch.empty(d_model))
        self.receptance = Linear(d_model, d_model, bias=False) if gate else None
        self.mix_receptance = nn.Parameter(torch.empty(d_model)) if gate else None
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """How much of the position itself: (i / D) ** (1 - depth), so that later layers look back less."""
        for mix in (self.mix_key, self.mix_receptance):
            if mix is not None:
                width = mix.shape[0]
                mix.copy_((torch.arange(width, device=mix.device) / width) ** (1 - self.share))

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(x, info)
        state = None if info.cache is None else info.cache.slot(self, info.visit).state
        (before,) = earlier(x, info, 1, state)
        y = bent_linear(relu2, (self.key(torch.lerp(before, x, self.mix_key.to(x.dtype))),), self.out)
        if self.receptance is None or self.mix_receptance is None:
            return y
        return F.sigmoid(self.receptance(torch.lerp(before, x, self.mix_receptance.to(x.dtype)))) * y
