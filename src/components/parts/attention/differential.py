"""Two maps with weights of their own are subtracted before the values are read, as a differential amplifier removes common noise.

Ye et al. 2024, arXiv:2410.05258, eq. 1 to 3
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from components.core.flops import Flops, Work
from components.core.registry import register
from components.core.signature import Positive, Probability
from components.core.sockets import Maker, Place, SequenceInfo, info_of, make
from components.functional import watch
from components.functional.attention import attend
from components.functional.attention_mask import MaskSpec
from components.functional.joint import joint_linear
from components.functional.linear import Linear
from components.functional.precision import at_least_fp32, cast_once
from components.parts.attention._positioned import Positioned
from components.parts.attention._softmax import head_width, heads_of, kept, kv_heads_of, softmax_flops


@register("attention", "differential")
class DifferentialAttention(Positioned):
    """Differential attention: the difference of two softmax maps, so that what both attend to by mistake cancels.

    A head has two queries and two keys of half the usual width, and one value: (softmax(q1 k1) - lambda softmax(q2 k2)) v, normed and scaled by
    1 - lambda_init. lambda = exp(a . b) - exp(c . d) + lambda_init with learned vectors a to d, which start at +-0.1 so that lambda starts at
    lambda_init (the paper draws them). The projections have all first queries (keys) before all second ones.

    Args:
        n_heads: differential heads; half of what a usual attention of this size has, in the paper.
        n_kv_heads: heads of values, and of pairs of keys; null: as many as n_heads.
        head_dim: width of a query or key; values are twice as wide. null: d_model / (2 n_heads).
        lambda_init: null: 0.8 - 0.6 exp(-0.3 l) in layer l, from 0.
        position: rotates queries and keys, or biases scores, of the 2 n_heads softmax maps.
        mask: which distances are seen.
        qk_norm: norm of queries and keys, each head's vector, before the rotation.
        head_norm: of what each head read.
        dropout: probability of dropping an attention weight of either map.

    Shapes: (B, T, D) -> (B, T, D).
    Errors: ValueError if twice n_heads does not divide d_model (without head_dim), or n_kv_heads not n_heads.
    """

    provides = ("rotates", "biases", "weights", "prefix")
    axes = {
        "q": ("d_model", "heads"),
        "k": ("d_model", "kv_heads"),
        "v": ("d_model", "kv_heads"),
        "out": ("heads", "d_model"),
        "lambda_q1": ("head_dim",),
        "lambda_k1": ("head_dim",),
        "lambda_q2": ("head_dim",),
        "lambda_k2": ("head_dim",),
    }

    lambda_q1: nn.Parameter
    lambda_k1: nn.Parameter
    lambda_q2: nn.Parameter
    lambda_k2: nn.Parameter

    def __init__(
        self,
        d_model: int,
        context_length: int | None = None,
        place: Place | None = None,
        *,
        n_heads: Positive = 4,
        n_kv_heads: Positive | None = None,
        head_dim: Positive | None = None,
        lambda_init: Probability | None = None,
        position: Maker["position"] = "inherit",
        mask: Maker["mask"] = "full",
        qk_norm: Maker["norm"] = "none",
        head_norm: Maker["norm"] = "rms",
        dropout: Probability = 0.0,
    ) -> None:
        super().__init__()
        width, kv_heads = head_width(d_model, n_heads, head_dim, halves=2), kv_heads_of(n_heads, n_kv_heads)
        by_depth = 0.8 - 0.6 * math.exp(-0.3 * (0 if place is None else place.index))
        self.head_dim, self.dropout = width, dropout
        self.lambda_init = by_depth if lambda_init is None else lambda_init
        self.q = Linear(d_model, 2 * n_heads * width, bias=False)
        self.k = Linear(d_model, 2 * kv_heads * width, bias=False)
        self.v = Linear(d_model, 2 * kv_heads * width, bias=False)
        self.out = Linear(2 * n_heads * width, d_model, bias=False)
        for name in ("lambda_q1", "lambda_k1", "lambda_q2", "lambda_k2"):
            setattr(self, name, nn.Parameter(torch.empty(width)))
        self.mask = make(mask, "mask", context_length=context_length)
        self.q_norm, self.k_norm = (make(qk_norm, "norm", dim=width) for _ in range(2))
        self.head_norm = make(head_norm, "norm", dim=2 * width)
        self.add_position(position, d_model=d_model, n_heads=2 * n_heads, head_dim=width, context_length=context_length)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        with torch.no_grad():
            for q, k in ((self.lambda_q1, self.lambda_k1), (self.lambda_q2, self.lambda_k2)):
                q.fill_(0.1)
                k.fill_(0.1)
                k[1::2] = -0.1  # the product of the two is 0, its gradients are not

    def weight(self) -> Tensor:
        """lambda, in fp32 at least."""
        a, b, c, d = (at_least_fp32(y) for y in self._vectors())
        return (a * b).sum().exp() - (c * d).sum().exp() + self.lambda_init

    def _vectors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.lambda_q1, self.lambda_k1, self.lambda_q2, self.lambda_k2

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(x, info)
        q, k, v = joint_linear(cast_once(x), (self.q, self.k, self.v))
        q, k = heads_of(q, self.head_dim, self.q_norm), heads_of(k, self.head_dim, self.k_norm)
        v = heads_of(v, 2 * self.head_dim)
        if self.rotates:
            q, k = self.position.rotate(q, k, info, info)
        k, v, k_info = kept(self, k, v, info)
        bias = self.position.bias(q, k, info, k_info) if self.biased else None
        spec = MaskSpec(info, k_info, info.causal, self.mask)
        # first maps, then second ones: both groups of heads read the same values
        read = attend(q, k, torch.cat((v, v), 1), spec, bias=bias, dropout=self.dropout if self.training else 0.0)
        if watch.sink is not None:
            own = torch.eye(read.shape[1] // 2, device=read.device)
            watch.sink("mixed", matrix=torch.cat((own, -self.weight().to(own.dtype) * own), 1))
        first, second = read.chunk(2, 1)
        difference = (first - self.weight().to(first.dtype) * second).transpose(1, 2)
        return self.out((self.head_norm(difference) * (1 - self.lambda_init)).flatten(2))

    def flops(self, work: Work) -> Flops:
        # 2 FLOPs a channel and cell: scores of half width, values of full width, for either map
        return softmax_flops(self, work, per_cell=3 * self.q.out_features * 2)
