"""A data-dependent decay for softmax: the sum of log forget gates between key and query is added to the score.

Lin et al. 2025 (Forgetting Transformer), arXiv:2503.02130, eq. 4 to 6
"""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from components.core.flops import Flops, Work
from components.core.registry import register
from components.core.signature import Positive, Probability
from components.core.sockets import Maker, SequenceInfo, info_of, make
from components.functional.attention import attend
from components.functional.attention_mask import MaskSpec
from components.functional.earlier import left
from components.functional.joint import joint_linear
from components.functional.linear import Linear
from components.functional.precision import at_least_fp32, cast_once
from components.parts.attention._positioned import Positioned
from components.parts.attention._softmax import add, head_width, heads_of, kept, kv_heads_of, softmax_flops


@register("attention", "forgetting")
class ForgettingAttention(Positioned):
    """Forgetting attention: softmax attention whose scores fall by what the heads chose to forget between key and query.

    Scores get the sum of log sigmoid(forget(x)) over the positions after the key up to the query, one number per head and position. It tells
    order by itself, so the paper uses it without positions. Where later positions are seen (encoders, prefixes), forgetting counts both ways.

    Args:
        n_heads: heads of queries.
        n_kv_heads: heads of keys and values; null: as many as n_heads.
        head_dim: width of a head; null: d_model / n_heads.
        position: rotates queries and keys, or biases scores.
        mask: which distances are seen.
        gate: scales what was read, before the output projection.
        qk_norm: norm of queries and keys, each head's vector, before the rotation.
        head_norm: of what each head read, before the gate.
        dropout: probability of dropping an attention weight.

    Shapes: (B, T, D) -> (B, T, D).
    Errors: ValueError if n_heads does not divide d_model (without head_dim), or n_kv_heads not n_heads.
    """

    provides = ("rotates", "biases", "weights", "prefix")
    axes = {
        "q": ("d_model", "heads"),
        "k": ("d_model", "kv_heads"),
        "v": ("d_model", "kv_heads"),
        "forget": ("d_model", "heads"),
        "out": ("heads", "d_model"),
    }

    def __init__(
        self,
        d_model: int,
        context_length: int | None = None,
        *,
        n_heads: Positive = 4,
        n_kv_heads: Positive | None = None,
        head_dim: Positive | None = None,
        position: Maker["position"] = "inherit",
        mask: Maker["mask"] = "full",
        gate: Maker["gate"] = "none",
        qk_norm: Maker["norm"] = "none",
        head_norm: Maker["norm"] = "none",
        dropout: Probability = 0.0,
    ) -> None:
        super().__init__()
        width, kv_heads = head_width(d_model, n_heads, head_dim), kv_heads_of(n_heads, n_kv_heads)
        self.head_dim, self.dropout, self.n_heads, self.n_kv_heads = width, dropout, n_heads, kv_heads
        self.q = Linear(d_model, n_heads * width, bias=False)
        self.k, self.v = (Linear(d_model, kv_heads * width, bias=False) for _ in range(2))
        self.forget = Linear(d_model, n_heads)
        self.out = Linear(n_heads * width, d_model, bias=False)
        self.mask = make(mask, "mask", context_length=context_length)
        self.gate = make(gate, "gate", d_model=d_model, n_heads=n_heads, head_dim=width)
        self.q_norm, self.k_norm, self.head_norm = (make(n, "norm", dim=width) for n in (qk_norm, qk_norm, head_norm))
        self.add_position(position, d_model=d_model, n_heads=n_heads, head_dim=width, context_length=context_length)

    @property
    def splits(self) -> Mapping[str, int]:
        """Heads do not know of one another. A single head of keys serves all pieces."""
        if (self.biased and not self.position.splits) or not (self.gate.identity or self.gate.splits):
            return {}
        return {"heads": self.n_heads, **({"kv_heads": self.n_kv_heads} if self.n_kv_heads > 1 else {})}

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(x, info)
        x = cast_once(x)
        q, k, v = joint_linear(x, (self.q, self.k, self.v))
        q, k = heads_of(q, self.head_dim, self.q_norm), heads_of(k, self.head_dim, self.k_norm)
        v = heads_of(v, self.head_dim)
        if self.rotates:
            q, k = self.position.rotate(q, k, info, info)
        forgotten, of_keys = self._forgotten(x, info)
        k, v, k_info = kept(self, k, v, info)
        decay = forgotten[..., None] - of_keys[:, :, None]
        if not info.causal or info.prefix is not None:
            decay = -decay.abs()
        bias = add(decay, self.position.bias(q, k, info, k_info) if self.biased else None)
        spec = MaskSpec(info, k_info, info.causal, self.mask)
        read = attend(q, k, v, spec, bias=bias, dropout=self.dropout if self.training else 0.0).transpose(1, 2)
        if not self.head_norm.identity:
            read = self.head_norm(read)
        return self.out(self.gate(read, x, info).flatten(2))

    def _forgotten(self, x: Tensor, info: SequenceInfo) -> tuple[Tensor, Tensor]:
        """Sums of log sigmoid(forget(x)) from the beginning: up to these positions (B, H, Tq), and up to all that are stored (B, H, Tk), in fp32 at least."""
        y = self.forget(x).transpose(1, 2)
        rates = F.logsigmoid(at_least_fp32(y))
        if info.valid is not None:
            rates = rates.masked_fill(~info.valid[:, None], 0.0)
        sums = rates.cumsum(-1)
        if info.cache is None:
            return sums, sums
        # in a second slot, in their own dtype; the sums of later calls go on from the last one
        slot = info.cache.slot(self, -1 - info.visit)
        if "forgotten" in slot.state:
            sums = sums + slot.state["forgotten"]
        slot.state["forgotten"] = left(sums[..., -1:], slot.state).clone()  # a view would keep all sums in memory
        stored, _, _ = slot.append(sums[..., None], sums.new_empty(*sums.shape, 0), info)
        return sums, stored[..., 0]

    def flops(self, work: Work) -> Flops:
        return softmax_flops(self, work, per_cell=4 * self.q.out_features)
