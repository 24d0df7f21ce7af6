"""Tokens of a list are never drawn.

Radford et al. 2022 (Whisper), arXiv:2212.04356, section 2.3: tokens without speech are suppressed
"""

from __future__ import annotations

import torch
from torch import Tensor

from components.core.registry import register


@register("sampler", "suppress_tokens")
class SuppressTokens:
    """Suppressed tokens: their logits become -inf.

    A row in which nothing would be left stays as it is.

    Args:
        ids: the tokens that are never drawn; those that no logit has change nothing.

    Raises:
        ValueError: no ids, or negative ones.
    """

    def __init__(self, *, ids: tuple[int, ...]) -> None:
        if not ids or min(ids) < 0:
            raise ValueError(f"ids={list(ids)}: give the numbers of the tokens that are never drawn, from 0")
        self.ids = tuple(ids)

    def __call__(self, logits: Tensor, ids: Tensor, valid: Tensor | None) -> Tensor:  # noqa: ARG002
        at = torch.tensor([i for i in self.ids if i < logits.shape[-1]], dtype=torch.long, device=logits.device)
        out = logits.index_fill(-1, at, float("-inf"))
        return out.where(out.isfinite().any(-1, keepdim=True), logits)
