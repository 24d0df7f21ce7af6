"""Only tokens of a list can be drawn.

De Cao et al. 2020 (constrained decoding), arXiv:2010.00904, with one set for all steps
"""

from __future__ import annotations

import torch
from torch import Tensor

from components.core.errors import UserError
from components.core.registry import register


@register("sampler", "allowed_tokens")
class AllowedTokens:
    """Allowed tokens: the logits of all others become -inf.

    Args:
        ids: the tokens that can be drawn; the one that ends a document among them, if it may end.

    Raises:
        ValueError: no ids, or negative ones; when called, ids that no logit has.
    """

    def __init__(self, *, ids: tuple[int, ...]) -> None:
        if not ids or min(ids) < 0:
            raise ValueError(f"ids={list(ids)}: give the numbers of the tokens that can be drawn, from 0")
        self.ids = tuple(ids)

    def __call__(self, logits: Tensor, ids: Tensor, valid: Tensor | None) -> Tensor:  # noqa: ARG002
        if max(self.ids) >= logits.shape[-1]:
            raise UserError(
                "sampler", f"allowed_tokens: ids has {max(self.ids)}, and there are {logits.shape[-1]} tokens", "leave it out"
            )
        at = torch.tensor(self.ids, device=logits.device)
        return torch.full_like(logits, float("-inf")).index_copy(1, at, logits[:, at])
