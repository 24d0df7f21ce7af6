"""An LSTM whose cell is a matrix and whose input gate is exponential: linear attention with a gate for each key and a sum that it is divided by.

Beck et al. 2024 (xLSTM), arXiv:2405.04517, equations 19 to 27; capped gates and the layer as here: Beck et al. 2025 (xLSTM 7B), arXiv:2503.13427
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.core.flops import Flops, Work, children
from components.core.registry import register
from components.core.signature import Positive, PositiveFloat
from components.core.sockets import Maker, SequenceInfo, info_of, make
from components.core.weights import copy_full
from components.functional import watch
from components.functional.joint import joint_linear
from components.functional.linear import Linear
from components.functional.linear_attention import linear_attention, linear_attention_flops
from components.functional.logits import soft_capped
from components.functional.precision import at_least_fp32, cast_once
from components.functional.running_exponent import running_exponent
from components.parts.attention._linear import LinearTime, head_width, kept, recall, split_heads


@register("attention", "mlstm")
class MatrixLSTM(LinearTime):
    """mLSTM: C_t = sigmoid(f_t) C_(t-1) + exp(i_t) k_t^T v_t, n_t alike with k_t alone, and h_t = q_t C_t / max(|q_t n_t|, 1), normed and gated.

    Exponentials never leave their range: the greatest exponent so far is taken out of all three. Reads from left to right whatever ``info.causal`` says, in
    an encoder too. It takes no position: the gates say how far back something was. At first a head keeps long and writes little.

    Args:
        n_heads: heads.
        expand_k: width of all queries together, in d_model.
        expand_v: width of all values together, in d_model.
        gate_cap: c in c * tanh(logit / c) of both gates; null: they are not capped.
        input_bias: first value of the input gates' biases.
        forget_bias: first values of the forget gates' biases, evenly from head to head.
        eps: added to what is divided by.
        output_norm: of each head's vector, with a scale of each head's own.

    Shapes: (B, T, D) -> (B, T, D).
    Errors: ValueError if n_heads does not divide the widths.
    """

    checked_with = ("model.position=none",)
    axes = {
        "q": ("d_model", "heads"),
        "k": ("d_model", "heads"),
        "v": ("d_model", "heads"),
        "z": ("d_model", "heads"),
        "input_gate": ("d_model", "heads"),
        "forget_gate": ("d_model", "heads"),
        "input_bias": ("heads",),
        "forget_bias": ("heads",),
        "out": ("heads", "d_model"),
    }

    def __init__(
        self,
        d_model: int,
        *,
        n_heads: Positive = 4,
        expand_k: PositiveFloat = 0.5,
        expand_v: PositiveFloat = 1.0,
        gate_cap: PositiveFloat | None = 15.0,
        input_bias: float = -10.0,
        forget_bias: tuple[float, float] = (3.0, 6.0),
        eps: PositiveFloat = 1e-6,
        output_norm: Maker["norm"] = "layer",
    ) -> None:
        super().__init__()
        self.k_width = head_width(d_model, n_heads, expand_k, "expand_k")
        self.head_dim = head_width(d_model, n_heads, expand_v, "expand_v")
        self.gate_cap, self.first, self.eps = gate_cap, (input_bias, *forget_bias), eps
        keys, values = n_heads * self.k_width, n_heads * self.head_dim
        self.q, self.k = (Linear(d_model, keys, bias=False) for _ in range(2))
        self.v, self.z = (Linear(d_model, values, bias=False) for _ in range(2))
        self.input_gate, self.forget_gate = (Linear(d_model, n_heads, bias=False) for _ in range(2))
        self.input_bias, self.forget_bias = (nn.Parameter(torch.empty(n_heads)) for _ in range(2))
        self.out = Linear(values, d_model, bias=False)
        self.output_norm = make(output_norm, "norm", dim=self.head_dim, heads=n_heads)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        wrote, low, high = self.first
        nn.init.constant_(self.input_bias, wrote)
        copy_full(self.forget_bias, torch.linspace(low, high, len(self.forget_bias), dtype=torch.float64, device="cpu"))

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(x, info)
        x, state = cast_once(x), kept(self, info)
        q, k, v, *logits = joint_linear(x, (self.q, self.k, self.v, self.input_gate, self.forget_gate))
        q, k = (at_least_fp32(split_heads(y, self.k_width)) for y in (q, k))
        i, f = (
            soft_capped(at_least_fp32(y) + bias, self.gate_cap).mT
            for y, bias in zip(logits, (self.input_bias, self.forget_bias), strict=True)
        )
        f = F.logsigmoid(f)
        before, after = recall(running_exponent, f, i, info=info, state=state, name="exponent").unbind(-1)
        k = k * (i - after).clamp(max=0.0).exp()[..., None]  # above 0 only at padding
        v = at_least_fp32(split_heads(v, self.head_dim))
        v = torch.cat((v, torch.ones_like(v[..., :1])), -1)  # a value of 1 sums the weights
        read = recall(linear_attention, q * self.k_width**-0.5, k, v, f + before - after, info=info, state=state)
        read, total = read.split((self.head_dim, 1), -1)
        total = torch.maximum(total.abs(), (-after).exp()[..., None]) + self.eps
        if watch.sink is not None:
            watch.sink("divided", total=total)
        return self.way_out(read / total, x, gate="sigmoid")

    def flops(self, work: Work) -> Flops:
        heads = self.input_gate.out_features
        return children(self, work) + linear_attention_flops(work.length, heads, heads, self.k_width, self.head_dim + 1)
