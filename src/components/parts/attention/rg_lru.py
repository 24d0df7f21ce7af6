"""A linear recurrence whose gates look at the input alone, behind a short convolution and beside a gate: the recurrent block of Griffin.

De et al. 2024, arXiv:2402.19427, sections 2.3 and 2.4; RecurrentGemma: Botev et al. 2024, arXiv:2404.07839
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.core.flops import Flops, Work, both, children
from components.core.registry import register
from components.core.signature import Positive, PositiveFloat
from components.core.sockets import SequenceInfo, info_of
from components.core.weights import Experts, copy_full
from components.functional import watch
from components.functional.activations import ACTIVATIONS, Activation
from components.functional.earlier import earlier, left
from components.functional.joint import joint_linear
from components.functional.linear import Linear
from components.functional.parallel_scan import scan
from components.functional.precision import at_least_fp32, cast_once
from components.functional.short_convolution import ShortConvolution, short_convolutions
from components.parts.attention._linear import head_width, kept

LEAST = 2.5e-7  # 1 - a^2 is no smaller, so that the gradient of its root stays below 1000


@register("attention", "rg_lru")
class RGLRU(nn.Module):
    """RG-LRU: each channel keeps a share of what it had and takes in as much new as keeps its variance.

    h_t = a_t h_(t-1) + sqrt(1 - a_t^2) i_t x_t, where log a_t = -power r_t softplus(decay), and r and i are sigmoids of x by blocks, one for each head. A
    document's first x comes in whole. It reads from left to right whatever ``info.causal`` says, in an encoder too, and is told no positions. First values
    without chance: exp(-softplus(decay)), the share that a channel keeps at least where power is 1, has its squares evenly from 0.9^2 to 0.999^2 (the paper
    draws them).

    Args:
        width: channels of the recurrence; null: d_model.
        n_heads: blocks of the matrices of r and i.
        conv_size: taps of the short convolution of x.
        power: how much faster a channel forgets at most than the paper's first values say.
        activation: of the gate.
        bias: of the projections and the convolution; r and i have one in any case.

    Shapes: (B, T, D) -> (B, T, D).
    Errors: ValueError if n_heads does not divide width.
    """

    checked_with = ("model.position=none",)
    axes = {
        "z": ("d_model", "heads"),
        "x": ("d_model", "heads"),
        "x_conv": ("heads",),
        "input_gate": ("heads", "head_dim", "head_dim"),
        "input_bias": ("heads",),
        "recurrence_gate": ("heads", "head_dim", "head_dim"),
        "recurrence_bias": ("heads",),
        "decay": ("heads",),
        "out": ("heads", "d_model"),
    }

    def __init__(
        self,
        d_model: int,
        *,
        width: Positive | None = None,
        n_heads: Positive = 4,
        conv_size: Positive = 4,
        power: PositiveFloat = 8.0,
        activation: Activation = "gelu_tanh",
        bias: bool = True,
    ) -> None:
        super().__init__()
        inner = d_model if width is None else width
        block = head_width(inner, n_heads, 1.0, "width")
        self.power, self.activation = power, ACTIVATIONS[activation]
        self.z, self.x = (Linear(d_model, inner, bias=bias) for _ in range(2))
        self.x_conv = ShortConvolution(inner, conv_size, bias)
        self.input_gate, self.recurrence_gate = (Experts(n_heads, block, block) for _ in range(2))
        self.input_bias, self.recurrence_bias = (nn.Parameter(torch.empty(n_heads, block)) for _ in range(2))
        self.decay = nn.Parameter(torch.empty(inner))
        self.out = Linear(inner, d_model, bias=bias)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        nn.init.zeros_(self.input_bias)
        nn.init.zeros_(self.recurrence_bias)
        count = self.decay.shape[0]
        middles = (torch.arange(count, dtype=torch.float64, device="cpu") + 0.5) / count
        kept_share = (0.9**2 + (0.999**2 - 0.9**2) * middles).sqrt()
        copy_full(self.decay, (1.0 / kept_share - 1.0).log())  # of which softplus is -log of the share

    def forward(self, u: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(u, info)
        u, state = cast_once(u), kept(self, info)
        z, x = joint_linear(u, (self.z, self.x))
        (x,) = short_convolutions((x,), (self.x_conv,), info, state)
        r, i = (
            self.gate(x, m, b) for m, b in ((self.recurrence_gate, self.recurrence_bias), (self.input_gate, self.input_bias))
        )
        log_a = -self.power * r * F.softplus(self.decay.to(r.dtype))
        new = i * at_least_fp32(x)
        a, root = log_a.exp(), (-torch.expm1(2.0 * log_a)).clamp(min=LEAST).sqrt()
        if watch.sink is not None:
            watch.sink("scan", log_a=log_a, log_b=(root * new).abs().log())
        # 1 where something came before in the document: else nothing is kept, and what is new comes in whole
        (begun,) = earlier(torch.ones_like(a[..., :1]), info, 1, state, "begun")
        a, b = a * begun, new * torch.where(begun > 0, root, 1.0)
        if info.valid is not None:  # padding passes h on
            a, b = torch.where(info.valid[..., None], a, 1.0), torch.where(info.valid[..., None], b, 0.0)
        h = scan(a, b, None if state is None else state.get("h"))
        if state is not None:
            state["h"] = left(h[:, -1], state).clone()  # a view would keep all of h in memory
        return self.out(h.to(u.dtype) * self.activation(z))

    def gate(self, x: Tensor, blocks: Experts, bias: Tensor) -> Tensor:
        """The sigmoid of each head's channels (B, T, H * K) by its own matrix, in fp32 at least."""
        heads = x.unflatten(-1, (bias.shape[0], -1)).flatten(0, -3).transpose(0, 1)
        y = at_least_fp32(blocks(heads).transpose(0, 1).reshape(*x.shape))
        return torch.sigmoid(y + bias.flatten().to(y.dtype))

    def flops(self, work: Work) -> Flops:
        count, _, width = self.input_gate.weight.shape
        return children(self, work) + both(2 * 2 * count * width * width * work.length)
