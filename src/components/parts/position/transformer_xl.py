"""Queries are compared with mapped sinusoids of the distance, and two learned vectors stand in for queries.

Dai et al. 2019, arXiv:1901.02860, section 3.3, terms (b), (c) and (d)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.core.flops import Flops, Work
from components.core.registry import register
from components.core.signature import PositiveFloat
from components.core.sockets import SequenceInfo, infos_of
from components.core.weights import weight_of
from components.functional.linear import Linear
from components.functional.precision import at_least_fp32
from components.parts.position._distances import distances, span, spanned


@register("position", "transformer_xl")
class TransformerXL(nn.Module):
    """Transformer-XL's relative positions: (q + v) . r(distance) + u . k is added to the scores q . k.

    Args:
        base: the longest wavelength of the sinusoids is 2 pi base.

    All of it is divided by sqrt(head_dim), as scores are unless attention is given another scale. u and v start at 0.
    Errors: ValueError if d_model is odd.
    """

    needs = {"attention": ("biases",)}
    axes = {"r": ("d_model", "heads"), "u": ("heads",), "v": ("heads",)}

    def __init__(self, d_model: int, n_heads: int, head_dim: int, *, base: PositiveFloat = 10000.0) -> None:
        super().__init__()
        if d_model % 2:
            raise ValueError(f"sinusoids come in pairs of channels: d_model={d_model} is odd")
        self.d_model, self.n_heads, self.head_dim, self.base = d_model, n_heads, head_dim, base
        self.r = Linear(d_model, n_heads * head_dim, bias=False)
        self.u, self.v = (nn.Parameter(torch.empty(n_heads * head_dim)) for _ in "uv")
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.u)
        nn.init.zeros_(self.v)

    def bias(self, q: Tensor, k: Tensor, q_info: SequenceInfo | None = None, k_info: SequenceInfo | None = None) -> Tensor:
        q_info, k_info = infos_of(q, k, q_info, k_info)
        groups = k.shape[1]
        u, v = (p.view(self.n_heads, 1, self.head_dim).to(q.dtype) for p in (self.u, self.v))
        content = (u.view(groups, -1, self.head_dim) @ k.to(q.dtype).transpose(-1, -2)).flatten(1, 2)[
            :, :, None
        ]  # (B, H, 1, Tk)
        place = (self._within if q_info is k_info else self._beyond)(q + v, q_info, k_info)
        return (content + place) * self.head_dim**-0.5

    def _within(self, q: Tensor, q_info: SequenceInfo, k_info: SequenceInfo) -> Tensor:
        """Within one sequence: each of its distances is mapped once, and looked up."""
        low, high = span(q_info, k_info.placed().shape[1])
        sin, cos = self._waves(torch.arange(low, high + 1, device=q.device), self.r.weight)
        mapped = self.r(torch.cat((sin, cos), -1).to(self.r.weight.dtype)).to(q.dtype)
        scores = q @ mapped.view(-1, self.n_heads, self.head_dim).permute(1, 2, 0)  # (B, H, Tq, distances)
        row = (distances(q_info, k_info).clamp(low, high) - low)[:, None]
        return scores.gather(-1, row.expand(*scores.shape[:3], -1))

    def _beyond(self, q: Tensor, q_info: SequenceInfo, k_info: SequenceInfo) -> Tensor:
        """Few queries and many cached keys: the map goes to the queries, and a wave of i - j is made of waves of i and of j."""
        q = at_least_fp32(q)
        weight = weight_of(self.r).to(q.dtype).view(self.n_heads, self.head_dim, self.d_model)
        with_sin, with_cos = (q @ weight).chunk(2, -1)  # each (B, H, Tq, D/2)
        (q_sin, q_cos), (k_sin, k_cos) = (self._waves(i.positions[:, None], q) for i in (q_info, k_info))  # type: ignore[index]
        left = torch.cat((with_sin * q_sin + with_cos * q_cos, with_cos * q_sin - with_sin * q_cos), -1)
        return left @ torch.cat((k_cos, k_sin), -1).transpose(-1, -2)

    def _waves(self, positions: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """sin and cos of positions (...), each (..., D/2), in fp32 at least."""
        even = torch.arange(0, self.d_model, 2, device=positions.device).to(torch.promote_types(like.dtype, torch.float32))
        phase = positions[..., None] * self.base ** (-even / self.d_model)
        return phase.sin(), phase.cos()

    def flops(self, work: Work) -> Flops:
        rows, length, heads = spanned(work), work.length, self.n_heads * self.head_dim
        cells = length * (length + 1) // 2 if work.causal else length**2
        fixed = 2 * rows * self.d_model * heads + 2 * heads * length  # the mapped sinusoids, and u . k
        return Flops(fixed + 2 * heads * length * rows, fixed + 2 * heads * cells)
