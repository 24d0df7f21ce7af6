"""What embeddings have in common that read numbers instead of ids."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.core.sockets import SequenceInfo


class Unlearned(nn.Module):
    """An embedding without weights. Its vectors have the dtype that the model is cast to, which a buffer follows; no state dict has it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("like", torch.zeros(()), persistent=False)

    def reset_parameters(self) -> None:
        self.like.zero_()  # type: ignore[union-attr,operator]

    def cast(self, x: Tensor) -> Tensor:
        return x.to(self.like.dtype)  # type: ignore[union-attr,arg-type]


def values_of(ids: Tensor, info: SequenceInfo, d_in: int, name: str, instead: str) -> Tensor:
    """``info.values`` (B, T, d_in). ValueError, with the shapes, if there are no values or their width differs."""
    if info.values is None:
        raise ValueError(
            f"embedding/{name} reads numbers (B, T, {d_in}), and the batch has ids {tuple(ids.shape)} alone: give Batch.values"
        )
    if info.values.shape != (*ids.shape, d_in):
        raise ValueError(
            f"embedding/{name} reads numbers {(*ids.shape, d_in)}, and the batch has {tuple(info.values.shape)}: {instead}"
        )
    return info.values
