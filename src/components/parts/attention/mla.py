"""A low-rank cache. Where it takes fewer products, queries are multiplied into the latent space and attend to the latent vectors themselves.

DeepSeek-AI 2024 (DeepSeek-V2), arXiv:2405.04434, eq. 9 to 19; DeepSeek-V3, arXiv:2412.19437
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from components.core.flops import Flops, Work
from components.core.options import Options
from components.core.registry import register
from components.core.signature import Positive, PositiveFloat, Probability
from components.core.sockets import Maker, SequenceInfo, info_of, make
from components.core.weights import weight_of
from components.functional.attention import attend
from components.functional.attention_mask import MaskSpec
from components.functional.joint import joint_linear
from components.functional.linear import Linear
from components.functional.precision import cast_once
from components.parts.attention._indexer import Asking
from components.parts.attention._positioned import Positioned
from components.parts.attention._softmax import head_width, heads_of, kept, softmax_flops


@register("attention", "mla")
class LatentAttention(Options, Positioned):
    """Multi-head latent attention: keys and values are read from one small latent vector per position, which is all that decoding keeps.

    A head's query and key have a part without position and a rotated part, whose key all heads share; the channels of ``q`` (or ``q_up``) are,
    head by head, first the one and then the other. A position that only adds to the embedding, or biases scores, leaves both unrotated.

    Args:
        n_heads: heads.
        q_rank: width of the latent vector that queries are read from; null: queries come from the input.
        kv_rank: width of the latent vector of keys and values; null: d_model / 2.
        nope_dim: width of the part of a head's query and key without position; null: d_model / n_heads.
        rope_dim: width of the rotated part, even where something rotates; null: half of nope_dim, rounded up to an even number.
        v_dim: width of a head's value; null: nope_dim.
        latent_norm: of the latent vectors.
        position: rotates the rotated part, or biases scores.
        mask: which distances are seen.
        bias: which of the projections q, q_down, kv_down, k_rope, out have a bias.
        scale: factor on scores; null: 1 / sqrt(nope_dim + rope_dim). YaRN's checkpoints multiply it by mscale^2.
        dropout: probability of dropping an attention weight.

    Shapes: (B, T, D) -> (B, T, D).
    Errors: ValueError if n_heads does not divide d_model (without nope_dim), or bias names no projection.
    """

    provides = ("rotates", "biases", "weights", "prefix")
    axes = {
        "q": ("d_model", "heads"),
        "q_down": ("d_model", "latent"),
        "q_up": ("latent", "heads"),
        "kv_down": ("d_model", "latent"),
        "k_rope": ("d_model", "head_dim"),
        "k_up": ("latent", "heads"),
        "v_up": ("latent", "heads"),
        "out": ("heads", "d_model"),
    }

    def __init__(
        self,
        d_model: int,
        context_length: int | None = None,
        *,
        n_heads: Positive = 4,
        q_rank: Positive | None = None,
        kv_rank: Positive | None = None,
        nope_dim: Positive | None = None,
        rope_dim: Positive | None = None,
        v_dim: Positive | None = None,
        latent_norm: Maker["norm"] = "inherit",
        position: Maker["position"] = "inherit",
        mask: Maker["mask"] = "full",
        bias: tuple[str, ...] = (),
        scale: PositiveFloat | None = None,
        dropout: Probability = 0.0,
    ) -> None:
        super().__init__()
        nope = head_width(d_model, n_heads, nope_dim)
        rope = -(-nope // 4) * 2 if rope_dim is None else rope_dim
        rank, v_width = max(1, d_model // 2) if kv_rank is None else kv_rank, nope if v_dim is None else v_dim
        if wrong := sorted(set(bias) - {"q", "q_down", "kv_down", "k_rope", "out"}):
            raise ValueError(f"bias={list(bias)}: {wrong[0]!r} can have none; there are q, q_down, kv_down, k_rope, out")
        self.n_heads = n_heads
        self.nope, self.rope, self.v_width, self.dropout = nope, rope, v_width, dropout
        self.scale = (nope + rope) ** -0.5 if scale is None else scale
        if q_rank is None:
            self.q = Linear(d_model, n_heads * (nope + rope), bias="q" in bias)
        else:
            self.q_down = Linear(d_model, q_rank, bias="q_down" in bias)
            self.q_norm = make(latent_norm, "norm", dim=q_rank)
            self.q_up = Linear(q_rank, n_heads * (nope + rope), bias=False)
        self.from_latent = q_rank is not None
        self.kv_down = Linear(d_model, rank, bias="kv_down" in bias)
        self.kv_norm = make(latent_norm, "norm", dim=rank)
        self.k_rope = Linear(d_model, rope, bias="k_rope" in bias)
        self.k_up = Linear(rank, n_heads * nope, bias=False)
        self.v_up = Linear(rank, n_heads * v_width, bias=False)
        self.out = Linear(n_heads * v_width, d_model, bias="out" in bias)
        self.mask = make(mask, "mask", context_length=context_length)
        self.add_position(position, d_model=d_model, n_heads=n_heads, head_dim=rope, context_length=context_length)
        self.add_index(d_model)

    def add_index(self, d_model: int) -> None:
        """Builds what chooses among the keys, in a class that chooses."""

    @property
    def splits(self) -> Mapping[str, int]:
        """Heads do not know of one another; the latent vectors are each piece's own to compute."""
        return {} if self.biased and not self.position.splits else {"heads": self.n_heads}

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(x, info)
        x = cast_once(x)
        first, down, shared = joint_linear(x, (self.q_down if self.from_latent else self.q, self.kv_down, self.k_rope))
        first = self.q_norm(first) if self.from_latent else first
        q = heads_of(self.q_up(first) if self.from_latent else first, self.nope + self.rope)
        q_nope, q_rope = q.split((self.nope, self.rope), -1)
        latent, k_rope = self.kv_norm(down)[:, None], shared[:, None]
        if self.rotates:
            q_rope, k_rope = self.position.rotate(q_rope, k_rope, info, info)
        asking, beside = self.index(x, first if self.from_latent else x, info)
        if beside is None or info.cache is None:
            latent, k_rope, k_info = kept(self, latent, k_rope, info)
        else:
            both = torch.cat((k_rope, beside.to(k_rope.dtype)), -1)
            latent, both, k_info = kept(self, latent, both, info)
            k_rope, beside = both.split((self.rope, beside.shape[-1]), -1)
        bias = self.position.bias(q_rope, k_rope, info, k_info) if self.biased else None
        spec = MaskSpec(info, k_info, info.causal, self.mask)
        absorbed = info.cache is not None and self.absorbs(q.shape[2], latent.shape[2])
        if absorbed:
            # the matrices that would read keys and values from every latent vector are applied to queries and to what was read instead
            k_up, v_up = (weight_of(m).unflatten(0, (-1, w)) for m, w in ((self.k_up, self.nope), (self.v_up, self.v_width)))
            q = torch.cat((torch.matmul(q_nope, k_up.to(q_nope.dtype)), q_rope.to(q_nope.dtype)), -1)
            k, v = torch.cat((latent, k_rope.to(latent.dtype)), -1), latent
        else:
            v_up = None
            k_nope, v = heads_of(self.k_up(latent[:, 0]), self.nope), heads_of(self.v_up(latent[:, 0]), self.v_width)
            q = torch.cat((q_nope, q_rope.to(q_nope.dtype)), -1)
            k = torch.cat((k_nope, k_rope.to(k_nope.dtype).expand(-1, k_nope.shape[1], -1, -1)), -1)
        if asking is not None:
            bias = self.choose(asking, beside, q, k, spec, bias)
        read = attend(q, k, v, spec, bias=bias, scale=self.scale, dropout=self.dropout if self.training else 0.0)
        if v_up is not None:
            read = torch.matmul(read, v_up.transpose(1, 2).to(read.dtype))
        return self.out(read.transpose(1, 2).flatten(2))

    def index(self, x: Tensor, first: Tensor, info: SequenceInfo) -> tuple[Asking | None, Tensor | None]:
        """What asks for keys, and what each position keeps to be asked for, (B, 1, T, I). (None, None): every key that the mask shows is read.

        ``first``: what queries are read from, (B, T, q_rank or D).
        """
        del x, first, info
        return None, None

    def choose(
        self, asking: Asking, beside: Tensor | None, q: Tensor, k: Tensor, spec: MaskSpec, bias: Tensor | None
    ) -> Tensor | None:
        """``bias`` with what is not chosen hidden, where ``index`` gave something."""
        del asking, beside, q, k, spec
        return bias

    def absorbs(self, tq: int, tk: int) -> bool:
        """Whether it takes fewer products to attend to the latent vectors themselves than to keys and values read from them."""
        rank, widths = self.k_up.in_features, self.nope + self.v_width
        return tq * rank * widths + tq * tk * 2 * rank < tk * rank * widths + tq * tk * widths

    def flops(self, work: Work) -> Flops:
        per_head = self.nope + self.rope + self.v_width
        return softmax_flops(self, work, per_cell=2 * per_head * (self.v_up.out_features // self.v_width))
