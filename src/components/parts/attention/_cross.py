"""Cross attention: the queries of one sequence read the keys and values of another, an encoder's memory.

Vaswani et al. 2017, arXiv:1706.03762, section 3.2.3. ``make`` builds it for ``attention/gqa`` where a memory is read.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from components.core.flops import Flops, Work, both, children
from components.core.signature import Positive, PositiveFloat
from components.core.sockets import Maker, Place, SequenceInfo, info_of
from components.functional.attention_mask import EVERYTHING, MaskSpec
from components.functional.joint import joint_linear
from components.functional.precision import cast_once
from components.parts.attention._grouped import GroupedHeads


class CrossAttention(GroupedHeads):
    """Cross attention: keys and values come from ``info.memory``, all of which is seen.

    Neither mask nor position applies, since query and key count the positions of different sequences. Decoding projects the memory once.

    Args:
        n_kv_heads: heads of keys and values; null: as many as n_heads (multi-head), 1: multi-query.
        head_dim: width of a head; null: d_model / n_heads.
        gate: scales what was read, before the output projection.
        scale: factor on scores; null: 1 / sqrt(head_dim).

    Shapes: (B, T, D) -> (B, T, D); the memory is (B, S, d_memory).
    Errors: ValueError as ``attention/gqa``, and without a memory.
    """

    crosses = True
    stands_for = ("attention", "gqa")
    provides = ("weights", "memory", "prefix")

    def __init__(
        self,
        d_model: int,
        d_memory: int,
        place: Place | None = None,
        *,
        n_kv_heads: Positive | None = None,
        head_dim: Positive | None = None,
        gate: Maker["gate"] = "none",
        scale: PositiveFloat | None = None,
    ) -> None:
        super().__init__(d_model, d_memory, n_kv_heads, head_dim)
        self.add_reading(gate, scale, place)

    def forward(self, x: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(x, info)
        if info.memory is None or info.memory_info is None:
            raise ValueError(
                "a cross attention reads a memory, and this info has none: SequenceInfo(memory=..., memory_info=...)"
            )
        x = cast_once(x)
        q = self.normed_after(self.split_heads(self.q(x), self.q_norm), self.q_norm)
        state = info.cache.slot(self, info.visit).state if info.cache is not None else {}
        if "memory" not in state:
            state["memory"] = self._keys_values(cast_once(info.memory))
        k, v = state["memory"]
        return self.read(x, info, q, k, v, MaskSpec(info, info.memory_info, False, EVERYTHING), None)

    def _keys_values(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        k, v = joint_linear(memory, (self.k, self.v))
        return self.normed_after(self.split_heads(k, self.k_norm), self.k_norm), self.split_heads(v)

    def flops(self, work: Work) -> Flops:
        memory = work.memory or 0
        of_queries = children(self, work, leave=("k", "v", "k_norm"))
        of_memory = children(self, replace(work, length=memory), leave=("q", "out", "gate", "q_norm"))
        # scores and their sum, 2 FLOPs each per channel and cell
        return of_queries + of_memory + both(4 * self.q.out_features * work.length * memory)
