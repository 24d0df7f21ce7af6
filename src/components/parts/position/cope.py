"""The model decides which keys count.

Golovneva et al. 2024 (CoPE), arXiv:2405.18719, eqs. 3-5
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.core.flops import Flops, Work
from components.core.registry import register
from components.core.signature import Positive
from components.core.sockets import SequenceInfo, infos_of
from components.core.weights import weight_of
from components.functional.attention_mask import EVERYTHING, MaskSpec
from components.functional.precision import at_least_fp32


@register("position", "cope")
class ContextualPosition(nn.Module):
    """Contextual positions: a key's distance is the sum of gates of the keys from it to the query.

    Args:
        n_positions: rows of the table of learned positions, shared by the heads; greater sums count as the last.

    Gates are sigmoids of scores scaled by 1 / sqrt(head_dim), and q . position is not scaled, both as in the paper's code. Keys that a mask
    hides count as well: the sum goes over all keys of the document that causality shows, up to the last.
    """

    needs = {"attention": ("biases",)}
    axes = {"table": ("one", "head_dim")}

    def __init__(self, n_heads: int, head_dim: int, *, n_positions: Positive = 64) -> None:
        super().__init__()
        self.n_heads, self.head_dim, self.n_positions = n_heads, head_dim, n_positions
        self.splits = {"heads": n_heads}
        self.table = nn.Embedding(n_positions, head_dim)

    def bias(self, q: Tensor, k: Tensor, q_info: SequenceInfo | None = None, k_info: SequenceInfo | None = None) -> Tensor:
        q_info, k_info = infos_of(q, k, q_info, k_info)
        b, h, tq, width = q.shape
        groups = k.shape[1]
        k = k.to(q.dtype)
        grouped = q.reshape(b * groups, h // groups * tq, width)  # heads that share keys are rows of one product
        scores = torch.bmm(grouped, k.flatten(0, 1).mT).unflatten(1, (h // groups, tq)).unflatten(0, (b, groups)).flatten(1, 2)
        scores = scores * self.head_dim**-0.5
        seen = MaskSpec(q_info, k_info, q_info.causal, EVERYTHING).dense(q.device)
        gates = torch.sigmoid(at_least_fp32(scores)) * seen
        counted = gates.flip(-1).cumsum(-1).flip(-1).clamp(max=self.n_positions - 1)
        table = weight_of(self.table)
        at_rows = at_least_fp32(q.to(table.dtype) @ table.t())  # (B, H, Tq, n_positions)
        floor = counted.detach().floor()
        between = counted - floor
        low = floor.long()
        high = (low + 1).clamp(max=self.n_positions - 1)
        return at_rows.gather(-1, low) * (1 - between) + at_rows.gather(-1, high) * between

    def flops(self, work: Work) -> Flops:
        cells = work.length * (work.length + 1) // 2 if work.causal else work.length**2
        per_cell, rows = 2 * self.n_heads * self.head_dim, work.length * self.n_positions
        return Flops(per_cell * (work.length**2 + rows), per_cell * (cells + rows))
