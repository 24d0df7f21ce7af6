"""Linear attention in the line of RWKV, whose state changes by a generalised delta rule.

Peng et al. 2025, arXiv:2503.14456, section 4.1; token shift and value residual as in the released models.
Six shifted inputs, four low-rank maps and a dozen constants, each with a name and a first value of its own, make it longer than other mixers.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.core.flops import Flops, Work, children
from components.core.registry import register
from components.core.signature import Positive
from components.core.sockets import Maker, Place, SequenceInfo, info_of, make
from components.functional.earlier import earlier, left, starts
from components.functional.linear import Linear
from components.functional.precision import at_least_fp32
from components.functional.rwkv7 import rwkv7, rwkv7_flops
from components.parts.attention._softmax import head_width

SHIFTED = {
    "r": 0.2,
    "w": 0.9,
    "k": 0.7,
    "v": 0.7,
    "a": 0.9,
    "g": 0.2,
}  # what reads a shifted input, and how much of it at first
LOWEST = -math.exp(-0.5)  # of the logarithm of a decay


@register("attention", "rwkv7")
class RWKV7(nn.Module):
    """RWKV-7 time mixing: a recurrent state per head that is read, decayed channel by channel, and corrected by a delta rule with its own learning rates.

    Its first layer hands its values on (``rwkv7_first_value``), of which the later ones mix a share into their own. It reads from left to right, in
    encoders too, and is told no positions. Training works on chunks of 32 positions. First values of the constants are the released models'.

    Args:
        n_heads: heads, each with a state of head_dim x head_dim.
        decay_rank: width of the low-rank map to decays; null: by the square root of d_model, as for the next three; never above d_model.
        rate_rank: of the map to learning rates.
        value_rank: of the map to shares of the first layer's values.
        gate_rank: of the map to the output gate.
        value_residual: whether values of the first layer are mixed in.
        head_norm: of what each head read, with a scale per channel; released models add head_dim / 100000 to the variance.

    Shapes: (B, T, D) -> (B, T, D).
    Errors: ValueError if n_heads does not divide d_model.
    """

    checked_with = ("model.position=none",)
    carries_in = ("rwkv7_first_value",)
    carries_out = ("rwkv7_first_value",)
    axes = {
        "r": ("d_model", "heads"),
        "k": ("d_model", "heads"),
        "v": ("d_model", "heads"),
        "out": ("heads", "d_model"),
        "decay_down": ("d_model", "latent"),
        "decay_up": ("latent", "heads"),
        "rate_down": ("d_model", "latent"),
        "rate_up": ("latent", "heads"),
        "value_down": ("d_model", "latent"),
        "value_up": ("latent", "heads"),
        "gate_down": ("d_model", "latent"),
        "gate_up": ("latent", "heads"),
        "shift_r": ("d_model",),
        "shift_w": ("d_model",),
        "shift_k": ("d_model",),
        "shift_v": ("d_model",),
        "shift_a": ("d_model",),
        "shift_g": ("d_model",),
        "decay": ("heads",),
        "rate": ("heads",),
        "share": ("heads",),
        "key_scale": ("heads",),
        "key_rate": ("heads",),
        "bonus": ("heads",),
    }

    decay: nn.Parameter
    rate: nn.Parameter
    share: nn.Parameter
    key_scale: nn.Parameter
    key_rate: nn.Parameter
    bonus: nn.Parameter
    decay_down: nn.Linear
    rate_down: nn.Linear
    value_down: nn.Linear
    gate_down: nn.Linear
    gate_up: nn.Linear

    def __init__(
        self,
        d_model: int,
        place: Place | None = None,
        *,
        n_heads: Positive = 4,
        decay_rank: Positive | None = None,
        rate_rank: Positive | None = None,
        value_rank: Positive | None = None,
        gate_rank: Positive | None = None,
        value_residual: bool = True,
        head_norm: Maker["norm"] = "layer",
    ) -> None:
        super().__init__()
        self.head_dim = head_width(d_model, n_heads, None)
        self.place = Place(0, 1) if place is None else place
        self.mixes = value_residual and self.place.index > 0
        self.hands_on = value_residual
        self.r, self.k, self.v, self.out = (Linear(d_model, d_model, bias=False) for _ in range(4))
        ranks = {"decay": (decay_rank, 2.5, self.head_dim / 64), "rate": (rate_rank, 2.5, self.head_dim / 64)}
        ranks["gate"] = (gate_rank, 5.0, 1.0)
        if self.mixes:
            ranks["value"] = (value_rank, 1.7, self.head_dim / 64)
        for name, (given, factor, wide) in ranks.items():
            released = max(32, round(factor * d_model**0.5 * wide / 32) * 32)
            rank = min(d_model, released) if given is None else given
            setattr(self, f"{name}_down", Linear(d_model, rank, bias=False))
            setattr(self, f"{name}_up", Linear(rank, d_model, bias=False))
        constants = [f"shift_{n}" for n in SHIFTED] + ["decay", "rate", "key_scale", "key_rate", "bonus"]
        for name in [*constants, "share"] if self.mixes else constants:
            setattr(self, name, nn.Parameter(torch.empty(d_model)))
        self.head_norm = make(head_norm, "norm", dim=self.head_dim, heads=n_heads)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        width, (index, count) = self.decay.shape[0], (self.place.index, self.place.count)
        n = torch.arange(width, device=self.decay.device, dtype=torch.float32)
        depth, left = index / max(1, count - 1), 1 - index / count
        slope = n / max(1, width - 1)
        middle = max(1, self.head_dim - 1) / 2
        zigzag = (n % self.head_dim - middle) / middle
        zigzag = zigzag * zigzag.abs()
        for name, power in SHIFTED.items():
            getattr(self, f"shift_{name}").copy_(1 - (n / width) ** (power * left))
        self.decay.copy_(6 * slope ** (1 + depth**0.3) - 5.5 + 2.5 * zigzag)
        self.rate.copy_(0.3 * zigzag + 0.4 * (slope - 0.5) - 0.19)
        self.key_scale.copy_(0.71 - 0.1 * (slope - 0.5))
        self.key_rate.fill_(1.02)
        self.bonus.fill_(-0.04)
        if self.mixes:
            self.share.copy_(0.73 - 0.4 * (slope - 0.5))

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(x, info)
        state = None if info.cache is None else info.cache.slot(self, info.visit).state
        back = earlier(x, info, 1, state)[0] - x
        of_r, of_w, of_k, of_v, of_a, of_g = (torch.addcmul(x, back, getattr(self, f"shift_{n}").to(x.dtype)) for n in SHIFTED)
        r, k, v = self.r(of_r), self.k(of_k), self.v(of_v)
        log_w = LOWEST * torch.sigmoid(self._low_rank("decay", torch.tanh(self.decay_down(of_w))))
        rate = torch.sigmoid(self._low_rank("rate", self.rate_down(of_a)))
        gate = self.gate_up(torch.sigmoid(self.gate_down(of_g)))
        if self.hands_on:
            first = info.carry.get("rwkv7_first_value")
            if first is None:
                first = info.out["rwkv7_first_value"] = v
            if self.mixes:
                share = torch.sigmoid(self._low_rank("share", self.value_down(of_v), "value_up"))
                v = torch.lerp(v.to(share.dtype), first.to(share.dtype), share).to(v.dtype)
        read = self._recall(r, log_w, k, v, rate, info, state)
        return self.out((read.flatten(2) * gate).to(v.dtype))

    def _low_rank(self, name: str, y: Tensor, up: str = "") -> Tensor:
        """The constant of this name plus its low-rank map, in fp32 at least."""
        y = getattr(self, up or f"{name}_up")(y)
        return getattr(self, name) + at_least_fp32(y)

    def _recall(
        self, r: Tensor, log_w: Tensor, k: Tensor, v: Tensor, rate: Tensor, info: SequenceInfo, state: dict[str, Tensor] | None
    ) -> Tensor:
        """What the states hold for r, normed, and the bonus for the position's own value: (B, T, H, K)."""
        r, k, v = (y.to(log_w.dtype) for y in (r, k, v))
        direction = F.normalize((k * self.key_scale).unflatten(-1, (-1, self.head_dim)), dim=-1)
        k = k * (1 + (rate - 1) * self.key_rate)
        r, log_w, k, v, rate = (y.unflatten(-1, (-1, self.head_dim)) for y in (r, log_w, k, v, rate))
        learnt = k
        if info.valid is not None:
            padding = ~info.valid[..., None, None]
            direction, learnt, log_w = (y.masked_fill(padding, 0.0) for y in (direction, learnt, log_w))
        start = starts(info, r.shape[0], r.shape[1], state)
        before = None if state is None else state.get("matrix")
        with torch.autocast(r.device.type, enabled=False):
            read, last = rwkv7(r, log_w, learnt, v, -direction, direction * rate, start, before)
        if state is not None:
            state["matrix"] = left(last, state)
        bonus = (r * k * self.bonus.view(-1, self.head_dim)).sum(-1, keepdim=True)
        return self.head_norm(read) + bonus * v

    def flops(self, work: Work) -> Flops:
        heads = self.out.in_features // self.head_dim
        return children(self, work) + rwkv7_flops(work.length, heads, self.head_dim, self.head_dim)
