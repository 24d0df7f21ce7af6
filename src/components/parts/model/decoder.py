"""It takes ids and gives logits of the next token.

Liu et al. 2018, arXiv:1801.10198; Radford et al. 2018 (GPT)
"""

from __future__ import annotations

from torch import Tensor

from components.core.registry import register
from components.core.sockets import Batch, Cache, Terms, batch_of
from components.parts.model._layered import OneStack


@register("model", "decoder")
class Decoder(OneStack):
    """Decoder: a causal language model."""

    provides = ("causal",)

    def forward(
        self, batch: Tensor | Batch, objective: object = None, *, cache: Cache | None = None, last: bool = False
    ) -> Tensor | Terms:
        """Logits of every position (``last``: of the last alone), or what ``objective(hidden, head, batch)`` and the layers return."""
        return self.read(batch_of(batch), objective, causal=True, cache=cache, last=last)
