"""What stands in for the side channel where somebody calls a part or a model by hand: ``attention(x)``, ``position.rotate(q, k)``, ``model(ids)``."""

from __future__ import annotations

import torch
from torch import Tensor

from components.core.sequence import Batch, SequenceInfo


def batch_of(batch: Tensor | Batch) -> Batch:
    """``batch``; of ids alone the batch that has nothing else. ValueError for what are no ids (B, T): one row is a batch of one, and is never guessed."""
    if isinstance(batch, Batch):
        return batch
    if batch.dim() != 2 or batch.is_floating_point():
        raise ValueError(
            f"a model reads ids (B, T) of whole numbers, not {str(batch.dtype).removeprefix('torch.')} {tuple(batch.shape)}"
            + (": ids[None] is a batch of one" if batch.dim() == 1 else "")
        )
    return Batch(batch)


def info_of(x: Tensor, info: SequenceInfo | None) -> SequenceInfo:
    """``info``; where there is none, x, ids (B, T) or vectors (B, T, ...), is one causal document that starts at position 0; vectors have ids 0."""
    if info is not None:
        return info
    if x.dim() < 2:
        raise ValueError(f"a part reads ids (B, T) or vectors (B, T, D), not {tuple(x.shape)}: x[None] is a batch of one")
    ids = x if x.dim() == 2 else torch.zeros(x.shape[:2], dtype=torch.long, device=x.device)
    return SequenceInfo.of(Batch(ids), causal=True)


def infos_of(
    q: Tensor, k: Tensor, q_info: SequenceInfo | None, k_info: SequenceInfo | None
) -> tuple[SequenceInfo, SequenceInfo]:
    """The same for queries (B, H, Tq, K) and keys (B, G, Tk, K): of one sequence where they are equally long."""
    if q_info is not None and k_info is not None:
        return q_info, k_info
    q_info = info_of(q[:, 0], q_info)
    return q_info, k_info or (q_info if q.shape[2] == k.shape[2] else info_of(k[:, 0], None))
