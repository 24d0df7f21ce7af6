"""The query is compared with the key and with the vector of their distance.

Shaw et al. 2018, arXiv:1803.02155, eq. 5 (the part of the keys)
"""

from __future__ import annotations

from torch import Tensor, nn

from components.core.flops import Flops, Work
from components.core.registry import register
from components.core.signature import Positive
from components.core.sockets import SequenceInfo, infos_of
from components.core.weights import weight_of
from components.parts.position._distances import backwards_only, distances


@register("position", "shaw")
class RelativeKeys(nn.Module):
    """Relative keys: each clipped distance has a learned vector, shared by the heads, that is added to the key.

    Args:
        max_distance: distances beyond this count as this; the table has 2 max_distance + 1 rows, past and future.

    The bias is q . a / sqrt(head_dim): attention's own scale, unless it is given another.
    """

    needs = {"attention": ("biases",)}
    axes = {"table": ("one", "head_dim")}

    def __init__(self, n_heads: int, head_dim: int, *, max_distance: Positive = 16) -> None:
        super().__init__()
        self.n_heads, self.head_dim, self.max_distance = n_heads, head_dim, max_distance
        self.splits = {"heads": n_heads}
        self.table = nn.Embedding(
            2 * max_distance + 1, head_dim
        )  # distances 0, 1, ... to the past, then 1, 2, ... to the future

    def bias(self, q: Tensor, k: Tensor, q_info: SequenceInfo | None = None, k_info: SequenceInfo | None = None) -> Tensor:
        q_info, k_info = infos_of(q, k, q_info, k_info)
        past, table = self.max_distance + 1, weight_of(self.table)
        distance = distances(q_info, k_info)
        if backwards_only(q_info):
            table, row = table[:past], distance.clamp(0, past - 1)
        else:
            row = distance.clamp(1 - past, past - 1)
            row = row.where(row >= 0, past - 1 - row)
        scores = (q * self.head_dim**-0.5).to(table.dtype) @ table.t()
        return scores.gather(-1, row[:, None].expand(*scores.shape[:3], -1))

    def flops(self, work: Work) -> Flops:
        rows = self.max_distance + 1 if work.causal else 2 * self.max_distance + 1
        row = 2 * self.n_heads * self.head_dim * work.length
        return Flops(row * rows, row * min(rows, work.length if work.causal else 2 * work.length - 1))
