"""Lample et al. 2019, arXiv:1907.05242, section 3: a key is a pair of half keys, so that the best of n^2 are found by comparing with 2 n"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.core.flops import Flops, Work, both, children
from components.core.registry import register
from components.core.signature import Positive
from components.core.sockets import Maker, SequenceInfo, make
from components.core.weights import Experts
from components.functional.linear import Linear
from components.functional.precision import at_least_fp32


@register("ffn", "product_key_memory")
class ProductKeyMemory(nn.Module):
    """Product-key memory: each position reads a few vectors of a large table, those whose keys fit best.

    Args:
        n_keys: half keys on each side; the table has n_keys ** 2 vectors.
        k: vectors that a head reads.
        n_heads: each with a query and keys of its own, all with one table.
        d_key: width of a query; each half of it is compared; null: d_model / 2, rounded to even.
        query_norm: of each half query (the paper: batch norm, which would look at the neighbours).

    Shapes: (B, T, D) -> (B, T, D).
    Errors: ValueError if k exceeds n_keys, or d_key is odd.
    """

    axes = {
        "query": ("d_model", "head_dim"),
        "keys": ("head_dim", "latent"),
        "values": ("one", "d_model"),
    }

    def __init__(
        self,
        d_model: int,
        *,
        n_keys: Positive = 32,
        k: Positive = 8,
        n_heads: Positive = 4,
        d_key: Positive | None = None,
        query_norm: Maker["norm"] = "layer",
    ) -> None:
        super().__init__()
        if k > n_keys:
            raise ValueError(f"k={k} exceeds the n_keys={n_keys} half keys of a side; choose k <= n_keys")
        width = 2 * max(1, d_model // 4) if d_key is None else d_key
        if width % 2:
            raise ValueError(f"d_key={width} cannot be halved; choose an even number")
        self.n_keys, self.k, self.n_heads = n_keys, k, n_heads
        self.query = Linear(d_model, n_heads * width, bias=False)
        self.keys = Experts(2 * n_heads, width // 2, n_keys)
        self.values = nn.Embedding(n_keys**2, d_model)
        self.query_norm = make(query_norm, "norm", dim=width // 2)

    def flops(self, work: Work) -> Flops:
        compared = 2 * self.keys.weight.numel() * work.length
        return children(self, work, leave=("keys", "values")) + both(compared)  # values are looked up and summed

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:  # noqa: ARG002  the contract's second argument
        halves = self.query_norm(self.query(x).flatten(0, 1).unflatten(-1, (2 * self.n_heads, -1)))
        scores = at_least_fp32(self.keys(halves.transpose(0, 1)))  # (2 H, N, n_keys)
        best, where = scores.unflatten(0, (self.n_heads, 2)).topk(self.k, -1)
        pairs = best[:, 0, :, :, None] + best[:, 1, :, None, :]
        rooms = where[:, 0, :, :, None] * self.n_keys + where[:, 1, :, None, :]
        chosen, place = pairs.flatten(-2).topk(self.k, -1)  # (H, N, k)
        found = self.values(rooms.flatten(-2).gather(-1, place))
        weights = torch.softmax(chosen, -1).to(found.dtype)
        out = (weights[..., None] * found).sum((0, 2))
        return out.to(halves.dtype).view(x.shape)
