"""Zhou et al. 2024, arXiv:2410.17897 (values of the first layer depend on tokens alone); Koszarsky 2024 (modded-nanogpt, value embeddings)"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.core.registry import register
from components.core.sockets import SequenceInfo, info_of
from components.functional.linear import Linear


@register("value", "embedding")
class EmbeddedValue(nn.Module):
    """Value embeddings: a second embedding of each token is mapped into the values of a layer.

    Args:
        start: factor of what is added, before training.

    Shapes: (B, G, T, K) -> (B, G, T, K).
    Errors: ValueError if the embedding wrote no value embeddings.
    """

    axes = {"values": ("d_model", "kv_heads"), "factor": ("one",)}
    carries_in = ("value_embeddings",)

    def __init__(self, d_model: int, n_kv_heads: int, head_dim: int, *, start: float = 1.0) -> None:
        super().__init__()
        self.start = start
        self.values = Linear(d_model, n_kv_heads * head_dim, bias=False)
        self.factor = nn.Parameter(torch.empty(1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.constant_(self.factor, self.start)

    def forward(self, v: Tensor, x: Tensor, info: SequenceInfo | None = None) -> Tensor:
        info = info_of(x, info)
        given = info.carry.get("value_embeddings")
        if given is None:
            raise ValueError(
                "value=embedding reads value embeddings, and the embedding wrote none: use embedding=value_embeddings"
            )
        added = self.values(given).unflatten(-1, (-1, v.shape[-1])).transpose(1, 2)
        return v + self.factor.to(v.dtype) * added.to(v.dtype)
