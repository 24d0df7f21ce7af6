"""A vector of the model's width stands for each bucket of distances, and attention/disentangled compares it with queries and keys.

He et al. 2020 (DeBERTa), arXiv:2006.03654, section 3.1; buckets: DeBERTa-v2's released code, as transformers has it
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.core.registry import register
from components.core.signature import Positive
from components.core.sockets import Maker, SequenceInfo, make
from components.parts.position._distances import distances


@register("position", "disentangled")
class DisentangledPosition(nn.Module):
    """Disentangled positions: a learned vector for each bucket of distances, one table for all layers of a stack.

    Args:
        span: rows of the table on either side of distance 0; distances beyond share the last one.
        max_distance: buckets grow with the distance, beyond half of ``span``, so that this one is among the last; null: each distance has a row.
        norm: of the vectors.

    Errors: ValueError if ``span`` has no half, or max_distance - 1 does not lie beyond it.
    """

    provides = ("distance_vectors",)
    needs = {"attention": ("distance_terms",)}
    axes = {"table": ("one", "d_model")}
    share = "stack"

    def __init__(
        self, d_model: int, *, span: Positive = 128, max_distance: Positive | None = 512, norm: Maker["norm"] = "none"
    ) -> None:
        super().__init__()
        if max_distance is not None and (span < 2 or max_distance - 1 <= span // 2):
            raise ValueError(f"max_distance={max_distance} must be beyond half of span={span}, and span at least 2")
        self.span, self.max_distance = span, max_distance
        self.n_vectors = 2 * span
        self.table = nn.Embedding(self.n_vectors, d_model)
        self.norm = make(norm, "norm", dim=d_model)

    def vectors(self) -> Tensor:
        """(2 span, D), looked up, so that whatever stands in the table's place is asked."""
        return self.norm(self.table(torch.arange(self.n_vectors, device=self.table.weight.device)))

    def bucket(self, distance: Tensor) -> Tensor:
        """Of distances, positive towards the past: itself up to half of the span, then ever more distances share one. In fp32, as those were trained."""
        if self.max_distance is None:
            return distance
        half, far = self.span // 2, distance.abs()
        ratio = torch.log(far.clamp(min=half) / half) / torch.log(torch.tensor((self.max_distance - 1) / half))
        return torch.where(far <= half, distance, (torch.ceil(ratio * (half - 1)).long() + half) * distance.sign())

    def rows(self, q_info: SequenceInfo, k_info: SequenceInfo) -> Tensor:
        """(B or 1, Tq, Tk): the row of ``vectors`` for each query and key."""

        def compute() -> Tensor:
            return (self.bucket(distances(q_info, k_info)) + self.span).clamp(0, self.n_vectors - 1)

        return q_info.once(("disentangled", self.span, self.max_distance), compute) if q_info is k_info else compute()
